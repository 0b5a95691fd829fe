import pytest

from eva.exercises import check_momentum_step, check_one_cycle
from tests.exercises.test_first import stub, told  # noqa: F401 - a fixture


def momentum_step(weight, gradient, velocity, rate, momentum):
    velocity = momentum * velocity + gradient
    return weight - rate * velocity, velocity


def in_place(weight, gradient, velocity, rate, momentum):
    velocity.mul_(momentum).add_(gradient)
    weight.sub_(rate * velocity)
    return weight, velocity


def one_cycle(step, steps, warmup, first=1, last=0):
    """The schedule, with the mistakes that a learner makes on the way to it."""
    rising = warmup * steps
    return min((step + first) / rising, (steps - last - step) / (steps - rising), 1)


def one_cycle_with_if(step, steps, warmup):
    rising = warmup * steps
    if step + 1 < rising:
        return (step + 1) / rising
    return min(1, (steps - step) / (steps - rising))


@pytest.mark.parametrize(
    ("check", "solution"),
    [
        (check_momentum_step, momentum_step),
        (check_momentum_step, in_place),
        (check_one_cycle, one_cycle),
        (check_one_cycle, one_cycle_with_if),
    ],
)
def test_each_check_takes_the_solution_and_greets_the_stub(check, solution, told):  # noqa: F811
    check(solution)
    assert told().startswith("Right, ")
    check(stub)
    assert "Not yet: `stub` returned nothing." in told()


def step(velocity_of, weight_of):
    """A step by two formulas: the new velocity from (v, g, m, r), and the new weight from (w, the new v, g, r)."""

    def answer(w, g, v, rate, momentum):
        new = velocity_of(v, g, momentum, rate)
        return weight_of(w, new, g, rate), new

    return answer


def right_velocity(v, g, m, r):
    return m * v + g


def right_weight(w, v, g, r):
    return w - r * v


def nesterov(w, g, v, rate, momentum):
    v = momentum * v + g
    return w - rate * (g + momentum * v), v


WRONG = [
    (check_momentum_step, step(right_velocity, lambda w, v, g, r: w - r * g), "this step's gradient alone"),
    (check_momentum_step, step(right_velocity, lambda w, v, g, r: w + r * v), "moved uphill"),
    (check_momentum_step, step(right_velocity, lambda w, v, g, r: w - v), "multiply it by the rate"),
    (check_momentum_step, step(right_velocity, lambda w, v, g, r: w), "the velocity is right, the weight is not"),
    (check_momentum_step, lambda w, g, v, r, m: (w - r * v, m * v + g), "renew the velocity first"),
    (check_momentum_step, nesterov, "that is Nesterov's variant"),
    (check_momentum_step, lambda w, g, v, r, m: (w - r * (m * v + g), v), "is the old one"),
    (check_momentum_step, lambda w, g, v, r, m: (w - r * (m * v + g), r * (m * v + g)), "it would count twice"),
    (check_momentum_step, lambda w, g, v, r, m: (w - r * (m * v + g), g), "the velocity is not"),
    (check_momentum_step, lambda w, g, v, r, m: momentum_step(w, g, v, r, m)[::-1], "the wrong way round"),
    (check_momentum_step, step(lambda v, g, m, r: m * v + (1 - m) * g, right_weight), "weighed by 1 - momentum"),
    (check_momentum_step, step(lambda v, g, m, r: v + m * g, right_weight), "multiply the old velocity"),
    (check_momentum_step, step(lambda v, g, m, r: v + g, right_weight), "all of the old velocity was kept"),
    (check_momentum_step, step(lambda v, g, m, r: m * v - g, right_weight), "subtracted from the velocity"),
    (check_momentum_step, step(lambda v, g, m, r: m * v + r * g, lambda w, v, g, r: w - v), "is in the velocity there"),
    (check_momentum_step, step(lambda v, g, m, r: 3 * v, right_weight), "differ from those of torch.optim.SGD"),
    (check_momentum_step, lambda w, g, v, r, m: w - r * v, "must return two things"),
    (check_momentum_step, lambda w, g, v, r, m: (w.sum(), v), "must return the shape"),
    (check_momentum_step, lambda w, g, v, r, m: (w, None), "returned nothing"),
    (check_one_cycle, lambda s, n, w: one_cycle(s, n, w, first=0), "the first one must move too"),
    (check_one_cycle, lambda s, n, w: one_cycle(s, n, w, last=1), "the last step must still move"),
    (check_one_cycle, lambda s, n, w: (s + 1) / n, "not all of them"),
    (check_one_cycle, lambda s, n, w: (n - s) / n, "falls from the first step on"),
    (check_one_cycle, lambda s, n, w: min((s + 1) / (w * n), 1), "after the peak the rate falls"),
    (check_one_cycle, lambda s, n, w: min((s + 1) / (w * n), (n - s) / n), "divide by the steps that are left there"),
    (check_one_cycle, lambda s, n, w: (s + 1) / (w * n) if s + 1 < w * n else 2, "is never above 1"),
    (check_one_cycle, lambda s, n, w: (s + 1) / (w * n) if s + 1 <= w * n else -1, "would climb uphill"),
    (check_one_cycle, lambda s, n, w: 0.123, "not 0.1230."),
    (check_one_cycle, lambda s, n, w: "1", "must return a number, and returned str"),
]


@pytest.mark.parametrize(("check", "answer", "message"), WRONG)
def test_wrong_answers_are_rejected_with_the_right_words(check, answer, message, told):  # noqa: F811
    check(answer)
    out = told()
    assert out.startswith("Not yet: ")
    assert message in out
