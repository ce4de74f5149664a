from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from lidiag.adapter import LoadOptions
from lidiag.adapters import _endpoint, builtin, http
from lidiag.dataset import Document, Page
from lidiag.errors import LidiagError
from lidiag.measurement import Skip

MODEL = builtin.load("lexical", LoadOptions(parameters={"dim": "8"}))
TEXTS = [f"wing {i} of the propeller" for i in range(20)]


class Server(ThreadingHTTPServer):
    """Serves the built-in model's vectors; `faults` says what goes wrong with the next requests, one after another."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.faults = []
        self.asked = []
        self.now = self.most = 0
        self.lock = threading.Lock()
        self.slow = 0.0
        self.change = lambda rows: rows

    @property
    def host(self):
        return f"127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address):
        """A client that hangs up is what some of these tests are about."""


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.now += 1
            server.most = max(server.most, server.now)
            server.asked.append((self.path, dict(self.headers), body))
            fault = server.faults.pop(0) if server.faults else None
        time.sleep(server.slow)
        with server.lock:
            server.now -= 1
        fault(self) if fault else self.answer(rows(self, body))

    def answer(self, data, status=200, **headers):
        sent = data if isinstance(data, bytes) else json.dumps({"data": data}).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(sent)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(sent)

    def log_message(self, *_):
        pass


def rows(handler, body):
    key = "data" if handler.path == "/pooling" else "embedding"
    vectors = MODEL.queries(body["input"])
    made = [{"index": i, "object": "x", key: item.tolist()} for i, item in enumerate(vectors)]
    return handler.server.change(made[::-1])


def status(code, text=b"busy", **headers):
    return lambda handler: handler.answer(text, code, **headers)


def stall(handler):
    time.sleep(1.5)


def trickle(handler):
    handler.send_response(200)
    handler.end_headers()
    for _ in range(30):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.05)


def break_off(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"data"')


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(_endpoint, "_FIRST_PAUSE", 0.001)
    made = Server()
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()


def load(server, path="/pooling", offline=False, **parameters):
    return http.load(f"//{server.host}{path}", LoadOptions(offline=offline, parameters={"model": "org/name", **parameters}))


@pytest.mark.parametrize("path", ["/pooling", "/v1/embeddings"])
def test_vectors_come_back_in_the_texts_order_whatever_order_they_are_sent_in(server, path):
    model = load(server, path)
    found, expected = model.queries(TEXTS), MODEL.queries(TEXTS)
    assert torch.allclose(found.vectors, expected.vectors, atol=1e-6)
    assert torch.equal(found.offsets, expected.offsets)


def test_a_text_without_tokens_has_no_vectors(server):
    assert load(server).documents([Document("a", ""), Document("b", "wing")]).lengths.tolist() == [0, 1]


def test_requests_are_small_and_few_at_once(server):
    model = load(server, items="3", in_flight="2", task="token_embed", query_prompt="Q: ")
    server.asked.clear()
    server.slow = 0.05
    model.queries(TEXTS)
    bodies = [body for _, _, body in server.asked]
    assert sorted(len(body["input"]) for body in bodies) == [2, 3, 3, 3, 3, 3, 3]
    assert server.most == 2
    assert {text.removeprefix("Q: ") for body in bodies for text in body["input"]} == set(TEXTS)
    assert all(text.startswith("Q: ") for body in bodies for text in body["input"])
    assert all((body["model"], body["task"], body["encoding_format"]) == ("org/name", "token_embed", "float") for body in bodies)


def test_the_card_describes_the_endpoint(server):
    card = load(server, key_env="", document_prompt="D: ").card
    assert (card.name, card.dim, card.unit_rows, card.randomly_initialised) == ("http/org__name", 8, True, None)
    assert card.parameters["url"] == f"http://{server.host}/pooling"
    assert card.prompts == {"query": "", "document": "D: "}
    assert load(server).card.revision == card.revision
    server.change = lambda made: [{**row, "data": [[2 * x for x in v] for v in row["data"]]} for row in made]
    changed = load(server).card
    assert changed.revision != card.revision
    assert not changed.unit_rows


@pytest.mark.parametrize("fault", [status(503), status(429), status(500), stall, trickle, break_off, lambda handler: None])
def test_what_may_pass_is_tried_again(server, fault):
    model = load(server, timeout="0.6")
    server.faults = [fault, fault]
    assert torch.allclose(model.queries(["wing"]).vectors, MODEL.queries(["wing"]).vectors, atol=1e-6)
    assert not server.faults


def test_the_server_says_how_long_to_wait_and_pauses_double_otherwise(server, monkeypatch):
    monkeypatch.setattr(_endpoint, "_FIRST_PAUSE", 0.5)
    pauses = []
    endpoint = _endpoint.Endpoint(f"http://{server.host}/pooling", sleep=pauses.append)
    server.faults = [status(503), status(503), status(429, Retry_After="7"), status(503, Retry_After="9999")]
    endpoint.ask({"input": ["wing"]})
    assert pauses == [0.5, 1.0, 7.0, 30.0]


@pytest.mark.parametrize(("fault", "said"), [(stall, "no whole answer within 0.2 s"), (status(503, b"still loading"), "503 still loading")])
def test_it_gives_up_with_the_last_cause(server, fault, said):
    model = load(server, attempts="2", timeout="0.2")
    server.faults = [fault] * 2
    start = time.perf_counter()
    with pytest.raises(LidiagError, match=f"no usable answer in 2 attempts; the last: {said}"):
        model.queries(["wing"])
    assert time.perf_counter() - start < 1.5


def test_a_server_that_is_not_there_is_named(server):
    host = server.host
    server.shutdown()
    server.server_close()
    with pytest.raises(LidiagError, match="2 attempts; the last: ConnectionRefusedError"):
        http.load(f"//{host}/pooling", LoadOptions(parameters={"attempts": "2"}))


REFUSALS = {
    "a client's fault": (status(404, b"no such \x1b[31mmodel\n"), r"refuses with 404: no such  \[31mmodel"),
    "a redirect": (status(307, b"", Location="http://elsewhere.example/x"), "redirects to 'http://elsewhere.example/x'"),
    "no JSON": (status(200, b"<html>"), r"answered no JSON \(Expecting value.*\): <html>"),
    "deep nesting": (status(200, b"[" * 200_000), "answered no JSON"),
    "NaN": (status(200, b'{"data": [{"data": [[NaN]]}]}'), "answered no JSON"),
    "infinity": (status(200, b'{"data": [{"data": [[1e999]]}]}'), "not finite"),
    "no list": (status(200, b'{"data": 3}'), "no list of objects under data"),
    "an item too many": (status(200, b'{"data": [{"data": [[1]]}, {"data": [[1]]}]}'), "2 items for 1 texts"),
    "a foreign index": (status(200, b'{"data": [{"index": 4, "data": [[1]]}]}'), "or not one for each"),
    "one vector a text": (status(200, b'{"data": [{"embedding": [1, 2]}]}'), "one vector per text, not one per token"),
    "a ragged array": (status(200, b'{"data": [{"data": [[1], [1, 2]]}]}'), "no rectangle of numbers"),
    "words": (status(200, b'{"data": [{"data": [["a"]]}]}'), "no rectangle of numbers"),
    "nothing": (status(200, b'{"data": [{"object": "x"}]}'), "no rectangle of numbers|array of 0 dimensions"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_will_not_pass_is_refused_at_once(server, case):
    fault, said = REFUSALS[case]
    model = load(server)
    server.asked.clear()
    server.faults = [fault]
    with pytest.raises(LidiagError, match=said):
        model.queries(["wing"])
    assert len(server.asked) == 1


def test_an_answer_without_end_is_cut_off(server):
    endpoint = _endpoint.Endpoint(f"http://{server.host}/pooling", longest=1000)
    server.faults = [status(200, b" " * 2000)]
    with pytest.raises(LidiagError, match="more than 1,000 bytes"):
        endpoint.ask({"input": []})


def test_a_key_goes_into_the_header_and_into_no_message(server, monkeypatch):
    monkeypatch.setenv("MY_KEY", "s3cret-value")
    model = load(server, key_env="MY_KEY")
    assert server.asked[0][1]["Authorization"] == "Bearer s3cret-value"
    assert "s3cret" not in model.card.model_dump_json()
    server.faults = [status(401, b"bad key s3cret-value")]
    with pytest.raises(LidiagError, match=r"401: bad key \*\*\*") as refusal:
        model.queries(["wing"])
    assert "s3cret" not in str(refusal.value)


@pytest.fixture
def elsewhere(server):
    made = Server()
    threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed_and_no_key_reaches_another_host(server, elsewhere, monkeypatch, code):
    monkeypatch.setenv("MY_KEY", "s3cret-value")
    model = load(server, key_env="MY_KEY")
    server.faults = [status(code, b"", Location=f"http://{elsewhere.host}/pooling")]
    with pytest.raises(LidiagError, match=f"redirects to 'http://{elsewhere.host}/pooling'"):
        model.queries(["wing"])
    assert elsewhere.asked == []
    assert load(elsewhere).queries(["wing"])  # it would have answered, and gets no key either
    assert not any("s3cret" in str(asked) for asked in elsewhere.asked)


def test_a_proxy_of_the_environment_gets_neither_texts_nor_key(server, elsewhere, monkeypatch):
    monkeypatch.setenv("MY_KEY", "s3cret-value")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://{elsewhere.host}")
    assert load(server, key_env="MY_KEY").queries(["wing"])
    assert elsewhere.asked == []


def test_without_a_key_there_is_no_such_header(server):
    load(server)
    assert "Authorization" not in server.asked[0][1]


def test_a_key_is_not_sent_unencrypted_nor_taken_from_an_empty_variable(monkeypatch):
    monkeypatch.setenv("MY_KEY", "s3cret-value")
    with pytest.raises(LidiagError, match=r"would go to 192\.0\.2\.1 unencrypted"):
        http.load("//192.0.2.1/pooling", LoadOptions(parameters={"key_env": "MY_KEY"}))
    monkeypatch.setenv("MY_KEY", "")
    with pytest.raises(LidiagError, match="MY_KEY holds no usable key"):
        http.load("//127.0.0.1/pooling", LoadOptions(parameters={"key_env": "MY_KEY"}))


@pytest.mark.parametrize("name", ["ftp://host/x", "http://", "//user:word@host/x", "http://host:port/x", "pooling"])
def test_what_is_no_address_is_refused_without_showing_credentials(name):
    with pytest.raises(LidiagError, match="address") as refusal:
        http.load(name, LoadOptions())
    assert "word" not in str(refusal.value)


def test_an_offline_run_asks_this_machine_only(server):
    assert load(server, offline=True)
    with pytest.raises(LidiagError, match="offline"):
        http.load("https://192.0.2.1/pooling", LoadOptions(offline=True))


@pytest.mark.parametrize(("parameters", "said"), [({"timeout": "0"}, "out of range"), ({"in_flights": "2"}, "Did you mean in_flight")])
def test_wrong_parameters_are_refused(server, parameters, said):
    with pytest.raises(LidiagError, match=said):
        load(server, **parameters)


def test_labels_and_pages_are_skipped(server):
    model = load(server)
    with pytest.raises(Skip, match="does not say what token"):
        model.labels("query", "wing")
    with pytest.raises(Skip, match="reads text only"):
        model.documents([Document("p", page=Page(b""))])
