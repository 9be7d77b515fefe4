"""The arms of the ablation, one row each."""

from dataclasses import replace
from functools import partial
from types import MappingProxyType

from dfq.calibration import METHODS, Method, recipes
from dfq.calibration.generators.gdfq import GDFQ, GDFQConfig
from dfq.calibration.inversion_terms import Disagreement, SynthesisRelations, Term
from dfq.calibration.rgal import STUDENT_PHASE
from dfq.training.objectives import Objective
from dfq.training.relational_losses import UNIFORM

DISAGREEMENT = Disagreement(1.0)  # at the published weight
RELATIONS = SynthesisRelations(1.0)  # at the published weight
DISTILLATION = METHODS["zeroq-kd"].objective
NO_TRIPLETS = replace(STUDENT_PHASE, triplet_weight=0.0)
PLAIN_TRIPLETS = replace(STUDENT_PHASE, map_weight=0.0)


def arm(terms: tuple[Term, ...], objective: Objective = STUDENT_PHASE, **fields) -> Method:
    """Returns `rgal-zeroq` with other synthesis terms, another objective, or other fields."""
    row = METHODS["rgal-zeroq"]
    config = replace(row.synthesizer.args[0], terms=(*recipes.IMPROVED.terms, *terms))
    synthesizer = type(row.synthesizer)(row.synthesizer.func, config)
    return replace(row, synthesizer=synthesizer, objective=objective, **fields)


def plain(terms: tuple[Term, ...] = (), objective: Objective = DISTILLATION, *, paired: bool = False) -> Method:
    """Returns such an arm without mixtures, enlarged parts and feature maps."""
    return arm(terms, objective, training=MappingProxyType({}), zoom=1.0, paired=paired)


def generated(terms: tuple[Term, ...], objective: Objective) -> Method:
    """Returns an arm with one generator for the whole run, as GDFQ has it."""
    row = METHODS["gdfq"]
    return replace(row, synthesizer=partial(GDFQ, GDFQConfig(terms=terms)), objective=objective)


ARMS: dict[str, Method] = {
    "plain distillation": plain(),
    "+ mixtures": arm((), DISTILLATION, zoom=1.0, paired=False),
    "+ zoom": arm((), DISTILLATION, paired=False),
    "+ feature maps (base)": arm((), NO_TRIPLETS, paired=False),
    "base + disagreement": arm((DISAGREEMENT,), NO_TRIPLETS, paired=False),
    "base + synthesis relations": arm((RELATIONS,), NO_TRIPLETS, paired=False),
    "base in pairs": arm((), NO_TRIPLETS),  # batches as student relations need them, without relations
    "base + student relations": arm((), STUDENT_PHASE),
    "RGAL as shipped": METHODS["rgal-zeroq"],
    "both phases at weight 1": arm((DISAGREEMENT, RELATIONS)),
    "synthesis as in the released code": arm((DISAGREEMENT, replace(RELATIONS, swapped=False))),
    "uniform negatives": arm(
        (DISAGREEMENT, replace(RELATIONS, sampling=UNIFORM)), replace(STUDENT_PHASE, sampling=UNIFORM)
    ),
    "base + synthesis relations × 5": arm((SynthesisRelations(5.0),), NO_TRIPLETS, paired=False),
    "base + student relations × 10": arm((), replace(STUDENT_PHASE, triplet_weight=1.0)),
    "plain + synthesis relations": plain((RELATIONS,)),
    "plain + disagreement": plain((Disagreement(0.03),)),
    "plain + student relations": plain(objective=PLAIN_TRIPLETS, paired=True),
    "plain + both relations": plain((RELATIONS,), PLAIN_TRIPLETS, paired=True),
    "GDFQ's generator": generated((), DISTILLATION),
    "generator + disagreement": generated((DISAGREEMENT,), DISTILLATION),
    "generator + synthesis relations": generated((RELATIONS,), DISTILLATION),
    "generator + student relations": generated((), PLAIN_TRIPLETS),
    "generator + both relations": generated((RELATIONS,), PLAIN_TRIPLETS),
    "relations × 10": arm(
        (DISAGREEMENT, SynthesisRelations(10.0)),
        replace(STUDENT_PHASE, triplet_weight=10 * STUDENT_PHASE.triplet_weight),
    ),
}


def described(method: Method) -> str:
    """Returns everything that an arm varies, in words; a cell counts as finished only for an arm that was the same."""
    parts = (method.synthesizer.args[0].terms, method.objective, method.zoom, dict(method.training), method.paired)
    return " | ".join(map(repr, parts))
