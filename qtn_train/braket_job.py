"""``qtn_train.braket_job:main``: the name by which a hybrid job starts; see ``cli``."""

from .cli._hybrid_job import OPTIONS, main

__all__ = ["OPTIONS", "main"]

if __name__ == "__main__":
    main()
