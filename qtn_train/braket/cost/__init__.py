"""Prices, bills and estimates, before anything is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import lazily

if TYPE_CHECKING:
    from ._estimate import Bill, Estimate, Suggestion, estimate, suggest
    from ._money import (
        Prices,
        cost_of,
        current_prices,
        knows_price,
        set_spending_limit,
        show_usd,
    )

__all__ = [
    "Bill",
    "Estimate",
    "Prices",
    "Suggestion",
    "cost_of",
    "current_prices",
    "estimate",
    "knows_price",
    "set_spending_limit",
    "show_usd",
    "suggest",
]

__getattr__ = lazily(
    __name__,
    {
        "Bill": "_estimate",
        "Estimate": "_estimate",
        "Prices": "_money",
        "Suggestion": "_estimate",
        "cost_of": "_money",
        "current_prices": "_money",
        "estimate": "_estimate",
        "knows_price": "_money",
        "set_spending_limit": "_money",
        "show_usd": "_money",
        "suggest": "_estimate",
    },
)
