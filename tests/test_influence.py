"""Who listens to whom: nobody without a policy, and whoever copies is found."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bayes_badger as bb
from bayes_badger.errors import BadgerError
from bayes_badger.inner_loop._influence import influences
from bayes_badger.inner_loop._plan import Plan, prior_society
from bayes_badger.inner_loop._policy import Untaught, no_counsel
from bayes_badger.inner_loop._taught import load
from bayes_badger.inner_loop.experts import UNIVERSAL, Experts, Settings
from bayes_badger.measures.definitions.influence import _labelled
from bayes_badger.measures.labelled import doubts_of

K, SIZE = 8, 2


def leaning(points):
    """A log density that no Gaussian has, so that the policy has something to say."""
    x, y = points.T
    return -0.5 * ((x - 1) ** 2 + (y - x**2) ** 2 / 0.05)


class Copier(Untaught):
    """All experts go as far as the first of those that are heard would go."""

    def counsel(self, survey):
        told = no_counsel(survey)
        first = jnp.tanh(survey.place[0])
        return told._replace(damping=told.damping + first), survey.hidden


@pytest.fixture(scope="module")
def found():
    @eqx.filter_jit
    def of(policy):
        society = prior_society(Plan(np.eye(SIZE), "cloud"), K, SIZE, policy.width)
        return influences(leaning, society, policy, jax.random.key(0), 1, 16)

    return of


def test_without_a_policy_nobody_listens(found):
    nothing = found(Untaught())
    assert not np.asarray(nothing.beliefs).any()
    assert not np.asarray(nothing.weights).any()


def test_who_is_copied_is_found(found):
    # All start with one weight: the first is the first.
    matrix = np.asarray(found(Copier()).beliefs)[0]
    receivers = np.arange(K) % 2 == 1
    assert (matrix[0, receivers] > 1e-4).all()
    assert not matrix[1:].any()
    assert not matrix[:, ~receivers].any()


def test_a_copied_expert_is_a_doubt_and_one_that_is_heard_is_not(found):
    for policy, copied in ((Copier(), True), (load(UNIVERSAL), False)):
        of_two = jax.tree.map(lambda x: np.stack([x, x]), found(policy))
        told = _labelled(of_two, Experts(Settings(), policy))
        assert ("experts copy one of them" in " ".join(doubts_of(told))) == copied


def test_a_taught_policy_listens_and_what_does_without_it_does_not(found):
    told = found(load(UNIVERSAL))
    matrix = np.asarray(told.beliefs)[0]
    assert np.isfinite(matrix).all()
    assert (matrix.sum(0)[1::2] > 0).all()
    assert not matrix[:, ::2].any()
    # Own words are no message.
    assert not np.diag(matrix).any()


def test_a_linear_gaussian_program_has_no_society():
    run = bb.fit("gaussian", inference="exact", tasks=6, steps=4)
    with pytest.raises(BadgerError, match="linear-Gaussian"):
        bb.measures.influence(run)
