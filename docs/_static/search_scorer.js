// What stands first in the search: a heading that holds the whole question, then answers, then guides.
var Scorer = {
  score: ([docname, title, anchor, descr, score, filename, kind]) => {
    const folder = docname.split("/")[0];
    const bonus = { faq: 4, howto: 3, start: 2, theory: 2, tutorials: 1, changelog: -9 }[folder] || 0;
    return score + bonus + (kind === "title" ? 20 : 0);
  },
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
