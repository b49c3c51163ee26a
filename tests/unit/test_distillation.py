"""The divergence from a teacher: exact for the tokens that are known and the bucket of the others."""

import pytest
import torch
import torch.nn.functional as F

from modelmill.models import cross_entropy, distillation
from modelmill.models.distillation import Known

PLACES, VOCABULARY, WIDTH = 23, 40, 8


def random(*shape: int, scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def full(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """The divergence over the whole vocabulary, as torch computes it."""
    logs = [F.log_softmax(one.double() / temperature, 1) for one in (student, teacher)]
    return F.kl_div(*logs, reduction="none", log_target=True).sum(1)


def in_buckets(student: torch.Tensor, teacher: torch.Tensor, k: int, temperature: float) -> torch.Tensor:
    """The divergence of two distributions over the teacher's `k` likeliest tokens and one outcome more."""
    found = []
    for mine, theirs in zip(student.double() / temperature, teacher.double() / temperature, strict=True):
        order = theirs.argsort(descending=True)
        both = [torch.cat([p[order[:k]], p[order[k:]].sum()[None]]) for p in (mine.softmax(0), theirs.softmax(0))]
        found.append((both[1] * (both[1] / both[0]).log()).sum())
    return torch.stack(found)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_with_all_tokens_known_it_is_the_divergence_over_the_vocabulary(temperature: float) -> None:
    student, teacher = random(PLACES, VOCABULARY, scale=3), random(PLACES, VOCABULARY + 1, scale=3)[:, 1:]
    known = distillation.known_of(teacher, VOCABULARY, temperature)
    found = distillation.divergence(student, known, temperature)
    assert torch.allclose(found.double(), full(student, teacher, temperature), atol=1e-5)


@pytest.mark.parametrize("k", [1, 5, VOCABULARY - 1])
def test_with_fewer_it_is_that_of_the_tokens_and_one_bucket_and_never_more(k: int) -> None:
    student, teacher = random(PLACES, VOCABULARY, scale=3), random(PLACES, VOCABULARY + 1, scale=3)[:, 1:]
    found = distillation.divergence(student, distillation.known_of(teacher, k, 2.0), 2.0)
    assert torch.allclose(found.double(), in_buckets(student, teacher, k, 2.0), atol=1e-5)
    assert (found <= full(student, teacher, 2.0) + 1e-5).all()


def test_it_is_none_for_a_student_that_is_its_teacher() -> None:
    teacher = random(PLACES, VOCABULARY, scale=3)
    found = distillation.divergence(teacher, distillation.known_of(teacher, 4, 1.5), 1.5)
    assert torch.allclose(found, torch.zeros(PLACES), atol=1e-6)


@pytest.mark.parametrize("gap", [30.0, 300.0])
def test_a_bucket_that_is_next_to_nothing_loses_no_digits(gap: float) -> None:
    """What is missing to 1 is 0 in fp32 here."""
    student, teacher = (torch.zeros(1, VOCABULARY) for _ in range(2))
    student[0, 3], teacher[0, 3] = gap, 5.0
    known = distillation.known_of(teacher, 1, 1.0)
    student.requires_grad_()
    found = distillation.divergence(student, known, 1.0)
    assert torch.allclose(found.double(), in_buckets(student, teacher, 1, 1.0), rtol=1e-5)
    assert torch.autograd.grad(found.sum(), student)[0].isfinite().all()


@pytest.mark.parametrize("k", [4, VOCABULARY])
@pytest.mark.parametrize("share", [1.0, 0.3, 0.0])
def test_gradients_of_a_linear_head_in_pieces_are_those_of_whole_logits(
    k: int, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cross_entropy, "LOGITS_AT_ONCE", 5 * VOCABULARY)
    monkeypatch.setattr(cross_entropy, "ROWS_AT_ONCE", 2)
    teacher, temperature = random(PLACES, VOCABULARY, scale=3), 2.0
    labels = torch.arange(PLACES) % VOCABULARY
    labels[::4] = cross_entropy.IGNORED
    counted = labels != cross_entropy.IGNORED
    hidden, weight = random(PLACES, WIDTH).requires_grad_(), random(VOCABULARY, WIDTH).requires_grad_()
    known = distillation.known_of(teacher, k, temperature)

    found = distillation.loss(hidden, weight, labels, known, temperature, share)
    gradients = torch.autograd.grad(found, (hidden, weight))

    logits = (hidden @ weight.t()).double()
    apart = full(logits, teacher, temperature) if k == VOCABULARY else in_buckets(logits, teacher, k, temperature)
    hard = F.cross_entropy(logits, labels, reduction="none", ignore_index=cross_entropy.IGNORED)
    expected = (share * temperature**2 * apart[counted]).sum() + ((1 - share) * hard[counted]).sum()
    assert torch.allclose(found.double(), expected, rtol=1e-5)
    for mine, true in zip(gradients, torch.autograd.grad(expected, (hidden, weight)), strict=True):
        assert torch.allclose(mine, true, atol=2e-5)
    assert not gradients[0][~counted].any(), "what is not learned has no gradient"


def test_a_student_with_rows_beyond_the_tokens_has_them_in_the_bucket() -> None:
    teacher = random(PLACES, VOCABULARY)
    known = distillation.known_of(teacher, VOCABULARY, 1.0)
    student = torch.cat([teacher, torch.zeros(PLACES, 3)], 1).requires_grad_()
    found = distillation.divergence(student, known, 1.0)
    expected = student.logsumexp(1) - teacher.logsumexp(1)
    assert torch.allclose(found, expected, atol=1e-5) and (found > 0).all()
    assert torch.autograd.grad(found.sum(), student)[0].isfinite().all()


def test_what_is_kept_of_a_teacher_is_its_likeliest_tokens_in_the_order_of_the_vocabulary() -> None:
    known = distillation.known_of(torch.tensor([[0.0, 3.0, 1.0, 2.0]]), 2, 1.0)
    probabilities = torch.tensor([0.0, 3.0, 1.0, 2.0]).softmax(0)
    assert isinstance(known, Known) and known.tokens.tolist() == [[1, 3]]
    assert torch.allclose(known.logs.exp(), probabilities[[1, 3]][None])
    assert torch.allclose(known.rest.exp(), probabilities[[0, 2]].sum())
