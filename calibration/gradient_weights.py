"""Terms whose weight is a ratio of gradients, and the sum of all terms of a step."""

from dataclasses import dataclass

import torch
from torch import Tensor

from dfq.calibration.inversion_terms import SynthesisStep, Term
from dfq.training.gradient_ratios import gradient_ratio


@dataclass(frozen=True)
class AtRatio:
    """A term whose gradient has a given length, in multiples of that of the other terms together.

    A fixed weight that moves the images of one network leaves those of another alone. This form is ours.

    Attributes:
        term: The term, at any weight.
        ratio: Length of its gradient on the pixels ÷ length of the gradient of the other terms.
    """

    term: Term
    ratio: float

    def __call__(self, step: SynthesisStep) -> Tensor | None:
        return self.term(step)

    @property
    def needs_student(self) -> bool:
        return getattr(self.term, "needs_student", False)

    @property
    def needs_pairs(self) -> bool:
        return getattr(self.term, "needs_pairs", False)

    @property
    def needs_inner(self) -> bool:
        return getattr(self.term, "needs_inner", False)


class WeightedTerms:
    """Sums the terms of each step; the weights of `AtRatio` are measured from time to time.

    Args:
        terms: The terms.
        every: Number of steps between two measurements, which cost two more passes back for each such term.
    """

    def __init__(self, terms: tuple[Term, ...], *, every: int = 10):
        self.terms, self.every = terms, every
        self.steps, self.weights = 0, dict[int, float]()

    def losses(self, base: Tensor, step: SynthesisStep) -> dict[str, Tensor]:
        """Returns the weighted losses of the terms that apply, by name, without `base`; those of one name are added up.

        Args:
            base: What the other losses of the step amount to, a scalar; the reference of `AtRatio`, along with all
                terms that have a weight of their own.
            step: The step.
        """
        found = {place: loss for place, term in enumerate(self.terms) if (loss := term(step)) is not None}
        own = [loss.float() for place, loss in found.items() if not isinstance(self.terms[place], AtRatio)]
        reference = base.float() + torch.stack(own).sum() if own else base.float()
        for place, loss in found.items():
            term = self.terms[place]
            is_due = self.steps % self.every == 0 or place not in self.weights
            if isinstance(term, AtRatio) and is_due:
                self.weights[place] = term.ratio * gradient_ratio(reference, loss.float(), step.pixel_logits)
        self.steps += 1
        losses: dict[str, Tensor] = {}
        for place, loss in found.items():
            name, weighted = _name(self.terms[place]), loss.float() * self.weights.get(place, 1.0)
            losses[name] = losses[name] + weighted if name in losses else weighted
        return losses

    def state_dict(self) -> dict:
        return {"steps": self.steps, "weights": dict(self.weights)}

    def load_state_dict(self, state: dict) -> None:
        self.steps, self.weights = state["steps"], dict(state["weights"])


def _name(term: Term) -> str:
    return type(term.term if isinstance(term, AtRatio) else term).__name__.lower()
