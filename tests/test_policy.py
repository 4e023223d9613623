"""A policy that is learned: without units, of any number, the identity at first, and bounded."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayes_badger.errors import BadgerError
from bayes_badger.inner_loop import _taught
from bayes_badger.inner_loop._plan import Plan, prior_society
from bayes_badger.inner_loop._policy import Policy, Survey, Untaught, no_counsel
from bayes_badger.inner_loop._refit import _bounded, refitted
from bayes_badger.inner_loop._society import log_densities
from bayes_badger.inner_loop._taught import Taught

K, SIZE = 16, 3


def wild(seed=0, **sizes):
    """As after long training: no layer is zero."""
    policy = Taught(jax.random.key(seed), **sizes)
    leaves, tree = jax.tree.flatten(policy)
    keys = jax.random.split(jax.random.key(seed + 1), len(leaves))
    return jax.tree.unflatten(
        tree,
        [x + 0.5 * jax.random.normal(k, jnp.shape(x)) for x, k in zip(leaves, keys, strict=True)],
    )


def survey(k=K, size=SIZE, width=2, seed=0):
    rng = np.random.default_rng(seed)
    each = [rng.normal(size=(k, size)) for _ in range(4)]
    whole = [rng.normal(size=k) for _ in range(3)]
    arrays = [*each, *whole, 0.4, 0.5, rng.normal(size=(k, size, width))]
    return Survey(*(jnp.asarray(x, jnp.float32) for x in arrays))


counsel = eqx.filter_jit(lambda policy, survey: policy.counsel(survey))


def bimodal(points):
    """Two Gaussians, one of them narrow and turned."""
    root = jnp.array([[0.3, 0, 0], [0.2, 0.1, 0], [0, 0.1, 0.4]])
    mean = jnp.array([[1.0, 0, 0.5], [-1.0, 0.5, 0]])
    each = log_densities(points, mean, jnp.stack([root, 0.5 * jnp.eye(3)]))
    return jax.scipy.special.logsumexp(each + jnp.log(jnp.array([0.3, 0.7])), axis=1)


@pytest.fixture(scope="module")
def refits():
    """Three refits to two modes, compiled once for each kind of policy."""

    @eqx.filter_jit
    def found(policy, society):
        return refitted(bimodal, society, policy, jax.random.key(0), 3, 32)

    def of(policy):
        plan = Plan(np.eye(SIZE), "cloud")
        return found(policy, prior_society(plan, K, SIZE, policy.width))

    return of


def test_it_is_a_policy():
    assert isinstance(Taught(jax.random.key(0)), Policy)


def test_at_first_it_is_the_identity(refits):
    plain, known = refits(Untaught(2))
    society, check = refits(Taught(jax.random.key(0)))
    for one, other in zip(plain[:3], society[:3], strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5)
    assert float(check.divergence) == pytest.approx(float(known.divergence), abs=1e-5)


def test_what_it_says_matters(refits):
    plain, _ = refits(Untaught(2))
    society, _ = refits(wild())
    assert np.abs(plain.mean - society.mean).max() > 1e-3


@pytest.mark.parametrize("message", [0, 4])
def test_the_order_of_experts_and_of_coordinates_is_nothing_to_it(message):
    policy, seen = wild(message=message), survey()
    said, kept = counsel(policy, seen)
    rng = np.random.default_rng(1)
    experts, axes = rng.permutation(K), rng.permutation(SIZE)

    def turned(x):
        if x.ndim == 0:
            return x
        return x[experts] if x.ndim == 1 else x[experts][:, axes]

    other, remembered = counsel(policy, jax.tree.map(turned, seen))
    for one, two in zip(jax.tree.map(turned, said), other, strict=True):
        np.testing.assert_allclose(one, two, atol=2e-5)
    np.testing.assert_allclose(turned(kept), remembered, atol=2e-5)


@pytest.mark.parametrize(("k", "size"), [(1, 1), (5, 2), (64, 7)])
def test_any_number_of_experts_and_latents(k, size):
    said, kept = counsel(wild(), survey(k, size))
    assert said.damping.shape == (k, size)
    assert said.splitting.shape == (k,)
    assert kept.shape == (k, size, 2)


def test_experts_hear_each_other_only_where_there_are_messages():
    """The place of one expert is moved: do others hear of it?"""
    seen = survey()
    moved = seen._replace(place=seen.place.at[0].add(0.5))
    for message, heard in ((0, False), (4, True)):
        one, other = (counsel(wild(message=message), x)[0].damping[1:] for x in (seen, moved))
        assert bool(np.abs(one - other).max() > 1e-6) is heard


def test_kinds_of_experts_are_told_apart():
    """All experts in the same place: with one kind they say the same, with two every second one."""
    seen = survey()
    alike = jax.tree.map(lambda x: jnp.broadcast_to(x[:1], x.shape) if x.ndim else x, seen)
    for kinds, same in ((1, 1), (2, 2)):
        policy = wild(kinds=kinds)
        # So that what it says is not at its bounds.
        small = 0.01 * policy.last.weight, 0.01 * policy.last.bias
        policy = eqx.tree_at(lambda p: (p.last.weight, p.last.bias), policy, small)
        said = counsel(policy, alike)[0].damping
        np.testing.assert_allclose(said[same:], said[:-same], atol=1e-6)
        assert bool(np.abs(said[0] - said[1]).max() > 1e-3) is (kinds > 1)


def test_it_is_bounded_and_silent_where_it_is_not_finite():
    seen = survey()
    huge = jax.tree.map(lambda x: 1e6 * x, seen._replace(hidden=seen.hidden))
    said, _ = counsel(wild(), huge)
    assert all(float(jnp.abs(x).max()) <= 1.0 for x in said)
    broken = wild()
    broken = eqx.tree_at(lambda p: p.last.bias, broken, broken.last.bias.at[0].set(jnp.nan))
    said, kept = counsel(broken, seen)
    assert not any(np.any(x) for x in said)
    np.testing.assert_array_equal(kept, seen.hidden)


def test_half_of_the_experts_do_without_and_it_fades():
    """As the effective number of points comes near their number, and as the posterior narrows."""
    seen = survey()
    loud = jax.tree.map(lambda x: x + 3.0, no_counsel(seen))
    half = jnp.arange(K) % 2 == 1
    for evenness, sd, strength in (
        (0.3, 1.0, 1.0),
        (0.95, 1.0, 0.5),
        (1.0, 1.0, 0.0),
        (0.3, 1e-4, 1e-3),
        (0.95, 0.05, 0.25),
    ):
        now = seen._replace(
            evenness=jnp.asarray(evenness),
            place=jnp.zeros_like(seen.place),
            shrinkage=jnp.full_like(seen.shrinkage, np.log(sd)),
        )
        for x in _bounded(loud, half, now):
            np.testing.assert_allclose(x[1::2], strength, rtol=1e-4, atol=1e-7)
            np.testing.assert_array_equal(x[::2], 0.0)


def test_stored_and_read_it_is_the_same(tmp_path):
    policy = wild(width=1, message=3, state=5, kinds=3)
    _taught.save(policy, tmp_path / "p.safetensors")
    back = _taught.load(tmp_path / "p.safetensors")
    for one, other in zip(jax.tree.leaves(policy), jax.tree.leaves(back), strict=True):
        np.testing.assert_array_equal(one, other)
    assert (back.width, back.message) == (1, 3)


def test_a_file_that_is_none_is_told(tmp_path):
    path = tmp_path / "p.safetensors"
    path.write_bytes(b"no")
    with pytest.raises(BadgerError, match="holds no policy"):
        _taught.load(path)
