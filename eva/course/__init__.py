"""What only notebooks use: how much to run, claims that are checked, guesses that are scored, the ladder's figures.

claim("the network has fewer than a million parameters", count_parameters(model) < 1_000_000)
ladder(upto="dilated")       # the table of the reference runs; reference() has their lines
"""

from eva.budget import budget
from eva.course.claims import claim
from eva.course.guesses import Guess
from eva.course.ledger import difference, reference
from eva.course.tables import ladder, table

__all__ = ["Guess", "budget", "claim", "difference", "ladder", "reference", "table"]
