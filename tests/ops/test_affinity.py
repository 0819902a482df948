import pytest
import torch
from reference import similarity_by_definition, softmax_of_best

from xmem_infer.ops.affinity import best_of, readout, similarity, token_usage, top_k_affinity


def draw(tokens=40, queries=9, channels=16, objects=3, values=5, seed=0):
    g = torch.Generator().manual_seed(seed)
    return (
        torch.randn(tokens, channels, generator=g),
        1 + 2 * torch.rand(tokens, generator=g),
        torch.randn(queries, channels, generator=g),
        torch.rand(queries, channels, generator=g),
        torch.randn(objects, tokens, values, generator=g),
    )


def test_similarity_equals_its_definition():
    memory_key, shrinkage, query_key, selection, _ = draw()
    found = similarity(memory_key, shrinkage, query_key, selection)
    torch.testing.assert_close(found, similarity_by_definition(memory_key, shrinkage, query_key, selection))


def test_similarity_without_selection_omits_the_query_square():
    memory_key, shrinkage, query_key, _, _ = draw()
    found = similarity(memory_key, shrinkage, query_key, None)
    full = similarity_by_definition(memory_key, shrinkage, query_key, torch.ones_like(query_key))
    own = query_key.square().sum(1, keepdim=True) * shrinkage / 4  # sqrt(16)
    torch.testing.assert_close(found, full + own)


@pytest.mark.parametrize("top_k", [1, 7, 40, 100])
def test_sparse_readout_and_usage_equal_the_dense_ones(top_k):
    memory_key, shrinkage, query_key, selection, value = draw()
    scores = similarity(memory_key, shrinkage, query_key, selection)
    affinity = top_k_affinity(scores, top_k)
    dense = softmax_of_best(scores, top_k)
    torch.testing.assert_close(readout(value, affinity), dense @ value)
    torch.testing.assert_close(token_usage(affinity, value.shape[1]), dense.sum(0))


@pytest.mark.parametrize("columns", [40, 959, 1000, 7701, 9003])
def test_top_k_of_long_rows_is_exact(columns):
    scores = torch.randn(5, columns, generator=torch.Generator().manual_seed(columns))
    best, index = best_of(scores, 30)
    torch.testing.assert_close(best.sort(descending=True).values, scores.topk(30).values, rtol=0, atol=0)
    assert torch.equal(scores.gather(1, index), best)


def test_far_from_every_token_the_softmax_stays_finite():
    # Published: exp without subtracting the maximum is 0 / 0 once all kept scores are below about -104.
    scores = torch.full((2, 50), -1e4) - torch.arange(50.0)
    affinity = top_k_affinity(scores, 30)
    assert torch.isnan(scores.exp() / scores.exp().sum(1, keepdim=True)).all()
    torch.testing.assert_close(affinity.weight.sum(1), torch.ones(2))
    assert affinity.token[0, affinity.weight[0].argmax()] == 0


def test_autocast_does_not_lower_the_precision_of_reading():
    memory_key, shrinkage, query_key, selection, value = draw()
    plain = similarity(memory_key, shrinkage, query_key, selection)
    with torch.autocast("cpu", torch.bfloat16):
        scores = similarity(memory_key, shrinkage, query_key, selection)
        read = readout(value, top_k_affinity(scores, 30))
    assert torch.equal(scores, plain)
    assert torch.equal(read, readout(value, top_k_affinity(plain, 30)))


def test_gradients_flow_through_the_sparse_readout():
    memory_key, shrinkage, query_key, selection, value = (x.double() for x in draw(12, 4, 6, 2, 3))

    def read(memory_key, query_key, value):
        scores = similarity(memory_key, shrinkage, query_key, selection)
        return readout(value, top_k_affinity(scores, 5))

    inputs = [x.requires_grad_() for x in (memory_key, query_key, value)]
    assert torch.autograd.gradcheck(read, inputs)
