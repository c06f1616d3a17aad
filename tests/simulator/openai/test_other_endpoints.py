"""Audio, files, moderations and models: what passes through a router untouched."""

import io
import wave

import openai
import pytest

from router_extproc.simulator import SimulatedDeployment
from tests.simulator.conftest import Client, Simulate
from tests.simulator.conversation import ask


async def test_speech_is_transcribed(simulate: Simulate, client: Client) -> None:
    """The upload arrives as a form, and the text names who answered."""
    sdk = client(await simulate())
    upload = ("speech.mp3", b"\x00\x01\r\n--not-the-boundary\r\n" * 100, "audio/mpeg")
    answer = await sdk.audio.transcriptions.create(model="whisper-1", file=upload)
    assert answer.text.startswith("main (whisper-1)")
    assert (await sdk.audio.transcriptions.create(model="whisper-1", file=upload, response_format="text")).startswith("main")


async def test_a_form_is_refused_where_it_is_none_or_lacks_a_field(simulate: Simulate) -> None:
    """400 names what is missing."""
    simulator = await simulate()
    plain = await ask(simulator, "POST", "/v1/audio/transcriptions", b"{}")
    assert (plain.status, plain.json()["error"]["message"]) == (400, "Could not parse multipart form")
    form = b'--x\r\ncontent-disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n--x--\r\n'
    headers = "content-type: multipart/form-data; boundary=x\r\n"
    lacking = await ask(simulator, "POST", "/v1/audio/transcriptions", form, headers=headers)
    assert (lacking.status, lacking.json()["error"]["param"]) == (400, "file")


async def test_text_is_spoken_as_bytes(simulate: Simulate, client: Client) -> None:
    """`wav` is a real WAV file, about as long as the text."""
    sdk = client(await simulate())
    spoken = await sdk.audio.speech.create(model="tts-1", voice="alloy", input="hello there, " * 4, response_format="wav")
    with wave.open(io.BytesIO(spoken.content)) as file:
        assert file.getnframes() / file.getframerate() == pytest.approx(3.25)
    mp3 = await sdk.audio.speech.create(model="tts-1", voice="alloy", input="hello")
    assert mp3.response.headers["content-type"] == "audio/mpeg"


async def test_files_are_listed_after_upload(simulate: Simulate, client: Client) -> None:
    """Name, size and purpose come back; what was never uploaded is 404."""
    sdk = client(await simulate())
    made = await sdk.files.create(file=("lines.jsonl", b"{}\n{}\n"), purpose="batch")
    assert (made.filename, made.bytes, made.purpose) == ("lines.jsonl", 6, "batch")
    assert [file.id async for file in sdk.files.list()] == [made.id]
    assert (await sdk.files.retrieve(made.id)).filename == "lines.jsonl"
    with pytest.raises(openai.NotFoundError):
        await sdk.files.retrieve("file-nowhere")


async def test_moderation_flags_what_asks_for_it(simulate: Simulate, client: Client) -> None:
    """Each input has a result of its own."""
    answer = await client(await simulate()).moderations.create(model="omni-moderation-latest", input=["fine", "flag me"])
    assert [result.flagged for result in answer.results] == [False, True]
    assert answer.results[1].categories.violence is True


async def test_models_are_those_it_serves(simulate: Simulate, client: Client) -> None:
    """The list and the single model agree; others are 404."""
    sdk = client(await simulate(SimulatedDeployment(name="main", models=("gpt-4o", "org/model"))))
    assert [model.id async for model in sdk.models.list()] == ["gpt-4o", "org/model"]
    assert (await sdk.models.retrieve("org/model")).id == "org/model"
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        await sdk.models.retrieve("gpt-5")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nothing", 404),
        ("GET", "/v2/models", 404),
        ("GET", "/", 404),
        ("DELETE", "/v1/models", 405),
        ("GET", "/v1/chat/completions", 405),
    ],
)
async def test_other_paths_and_methods_are_refused(simulate: Simulate, method: str, path: str, status: int) -> None:
    """The message names both."""
    response = await ask(await simulate(), method, path)
    assert response.status == status
    assert method in response.json()["error"]["message"]
    assert path in response.json()["error"]["message"]


async def test_the_base_path_is_the_deployment_s_own(simulate: Simulate, client: Client) -> None:
    """OpenAI-compatible providers live below all kinds of paths, or none."""
    deployments = (SimulatedDeployment(name="deep", base_path="/api/openai/v1"), SimulatedDeployment(name="bare", base_path=""))
    simulator = await simulate(*deployments)
    for name in ("deep", "bare"):
        assert [model.id async for model in client(simulator, name).models.list()] == ["simulated"]
