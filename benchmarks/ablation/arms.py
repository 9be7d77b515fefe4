"""The arms of the ablation, one row each: what RGAL's two phases add to the same images, timing and batches.

The weights of relations are ratios of gradients (`AtRatio`, `RelationalDistillation.triplet_ratio`), because a fixed
weight says nothing about how hard a term pulls.
"""

from dataclasses import replace
from functools import partial
from types import MappingProxyType

from dfq.calibration import METHODS, Method, recipes
from dfq.calibration.generators.gdfq import GDFQ, GDFQConfig
from dfq.calibration.gradient_weights import AtRatio
from dfq.calibration.inversion_terms import Disagreement, SynthesisRelations, Term
from dfq.calibration.rgal import DISTILLATION, PAIRED
from dfq.training.image_sources import FixedImages
from dfq.training.objectives import KnowledgeDistillation, Objective, RelationalDistillation
from dfq.training.relational_losses import UNIFORM

RELATIONS = SynthesisRelations(1.0)
LOGITS = RelationalDistillation(paired=PAIRED)


def arm(terms: tuple[Term, ...] = (), objective: Objective = DISTILLATION, **fields) -> Method:
    """Returns `rgal-zeroq` with other synthesis terms, another objective, or other fields."""
    row = METHODS["rgal-zeroq"]
    config = replace(row.synthesizer.args[0], terms=(*recipes.IMPROVED.terms, *terms))
    synthesizer = type(row.synthesizer)(row.synthesizer.func, config)
    return replace(row, synthesizer=synthesizer, objective=objective, **fields)


def one(ratio: float, relations: SynthesisRelations = RELATIONS) -> tuple[Term, ...]:
    """Returns the terms of phase one."""
    return (AtRatio(relations, ratio),)


def two(ratio: float, base: RelationalDistillation = DISTILLATION, **fields) -> RelationalDistillation:
    """Returns the objective of phase two."""
    return replace(base, triplet_ratio=ratio, **fields)


def plain(terms: tuple[Term, ...] = (), objective: Objective = LOGITS) -> Method:
    """Returns such an arm without mixtures, enlarged parts and feature maps; whole batches come in pairs."""
    whole = replace(objective, paired=1.0) if isinstance(objective, RelationalDistillation) else objective
    return arm(terms, whole, training=MappingProxyType({}), zoom=1.0, paired=1.0)


def generated(terms: tuple[Term, ...], objective: Objective) -> Method:
    """Returns an arm with one generator for the whole run, as GDFQ has it."""
    row = METHODS["gdfq"]
    return replace(row, synthesizer=partial(GDFQ, GDFQConfig(terms=terms)), objective=objective)


ARMS: dict[str, Method] = {
    # The base: all images are made before training, or half of them in rounds and batches in pairs, as relations need.
    "base, all images first": arm(source=FixedImages, first_share=1.0, paired=0.0),
    "base": arm(),
    "phase one 0.1": arm(one(0.1)),
    "phase one 0.3": arm(one(0.3)),
    "phase one 1": arm(one(1.0)),
    "phase two 0.03": arm((), two(0.03)),
    "phase two 0.1": arm((), two(0.1)),
    "phase two 0.3": arm((), two(0.3)),
    "phase two 1": arm((), two(1.0)),
    "both 0.3": arm(one(0.3), two(0.3)),
    "both 0.1": arm(one(0.1), two(0.1)),
    # Variants of the two phases.
    "released direction": arm(one(0.3, replace(RELATIONS, swapped=False)), two(0.3)),
    "uniform negatives": arm(one(0.3, replace(RELATIONS, sampling=UNIFORM)), two(0.3, sampling=UNIFORM)),
    "phase two 0.3, relative margin": arm((), two(0.3, relative=True)),
    "disagreement 0.1": arm((AtRatio(Disagreement(1.0), 0.1),)),
    "disagreement 0.3": arm((AtRatio(Disagreement(1.0), 0.3),)),
    "disagreement 0.3, unmasked": arm((AtRatio(Disagreement(1.0, masked=False), 0.3),)),
    "disagreement 0.1, both 0.3": arm((AtRatio(Disagreement(1.0), 0.1), *one(0.3)), two(0.3)),
    "RGAL as shipped": METHODS["rgal-zeroq"],
    # Without mixtures, enlarged parts and feature maps.
    "plain": plain(),
    "plain, phase one 0.3": plain(one(0.3)),
    "plain, phase two 0.3": plain((), two(0.3, LOGITS)),
    "plain, both 0.3": plain(one(0.3), two(0.3, LOGITS)),
    # With one generator for the whole run.
    "generator": generated((), KnowledgeDistillation()),
    "generator, phase one 0.3": generated(one(0.3), KnowledgeDistillation()),
    "generator, phase two 0.3": generated((), two(0.3, RelationalDistillation())),
    "generator, both 0.3": generated(one(0.3), two(0.3, RelationalDistillation())),
}


def described(method: Method) -> str:
    """Returns everything that an arm varies, in words; a cell counts as finished only for an arm that was the same."""
    parts = (
        method.synthesizer.args[0].terms, method.objective, method.zoom, dict(method.training), method.paired,
        method.source.__name__,
    )  # fmt: skip
    return " | ".join(map(repr, parts))
