"""What only notebooks use: how much to run, claims that are checked, guesses that are scored, experiments.

claim("the network has fewer than a million parameters", count_parameters(model) < 1_000_000)
results("dilation")          # the table of an experiment's runs; compared("dilation") has the differences
duel("dilation", splits, device)     # the same in small, now
worth()                      # what each idea brought, where, for what price
ladder(upto="dilated")       # the table of an earlier experiment; reference() has its lines
"""

from eva.budget import budget
from eva.course.claims import claim
from eva.course.duels import duel
from eva.course.evidence import accuracies, compared, prices, results
from eva.course.guesses import Guess
from eva.course.ledger import difference, reference
from eva.course.tables import ladder, table
from eva.course.worth import worth

__all__ = ["Guess", "accuracies", "budget", "claim", "compared", "difference", "duel", "ladder", "prices", "reference",
           "results", "table", "worth"]  # fmt: skip
