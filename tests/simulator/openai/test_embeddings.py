import openai
import pytest

from tests.simulator.conftest import Client, Simulate


async def test_base64_and_float_are_the_same_vectors(simulate: Simulate, client: Client) -> None:
    """The SDK asks for base64 by itself; written as numbers the vector is the same."""
    sdk = client(await simulate())
    packed = await sdk.embeddings.create(model="text-embedding-3-small", input=["one", "two words"])
    plain = await sdk.embeddings.create(model="text-embedding-3-small", input=["one", "two words"], encoding_format="float")
    assert [len(item.embedding) for item in packed.data] == [1536, 1536]
    for left, right in zip(packed.data, plain.data, strict=True):
        assert left.embedding == pytest.approx(right.embedding)
    assert packed.usage.prompt_tokens == packed.usage.total_tokens > 0


async def test_like_texts_lie_close_together(simulate: Simulate, client: Client) -> None:
    """Vectors have length 1, and shared words bring them together."""
    answer = await client(await simulate()).embeddings.create(
        model="m", input=["the black cat sat down", "the black cat sat up", "quarterly revenue"], dimensions=256
    )
    near, nearer, far = (item.embedding for item in answer.data)
    assert sum(x * x for x in near) == pytest.approx(1)
    assert sum(x * y for x, y in zip(near, nearer, strict=True)) > 0.5
    assert abs(sum(x * y for x, y in zip(near, far, strict=True))) < 0.3


@pytest.mark.parametrize("bad", ["", [], [""], [{"a": 1}]])
async def test_an_empty_or_strange_input_is_400(simulate: Simulate, client: Client, bad: object) -> None:
    """There is nothing to embed."""
    with pytest.raises(openai.BadRequestError):
        await client(await simulate()).embeddings.create(model="m", input=bad)
