"""permessage-deflate of an echo server as seen by `websockets`.

    python compression.py ws://HOST:PORT [takeover]

`takeover`: the server lets clients refer to earlier messages. Prints one line per set of parameters; ends
with a traceback and status 1 at the first that fails.
"""

import sys

from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.sync.client import connect

URL = sys.argv[1]
TAKEOVER = len(sys.argv) > 2

WORDS = ["price", '{"bid":', "0.25", "Zoë", "EURUSD ", "\N{MUSICAL SYMBOL G CLEF}"]
# Text whose words come again near and far, with characters of several bytes.
PROSE = "".join(WORDS[at * at * 7 % 11 % 6] for at in range(20_000))
LENGTHS = [*range(301), 511, 512, 513, 1000, 1023, 1024, 1025, 4095, 4096, 4097, 8191, 8192, 16_384, 32_767]
LENGTHS += [32_768, 32_769, 40_000, 65_535, 65_536, 65_537, 70_000]
SOME = [length for length in LENGTHS if length < 3 or length % 50 == 0 or length > 4096]


def pieces_of(message, pieces):
    size = -(-len(message) // pieces)
    return [message[piece * size : (piece + 1) * size] for piece in range(pieces)]


def talk(offer, lengths, pieces=1, settings=None):
    """Offers these parameters, and sends each length as text and as bytes, in so many pieces each."""
    factory = ClientPerMessageDeflateFactory(**offer, compress_settings=settings)
    with connect(URL, compression=None, extensions=[factory], max_size=None) as socket:
        (agreed,) = socket.protocol.extensions
        assert agreed.remote_no_context_takeover
        assert agreed.local_no_context_takeover == (not TAKEOVER or bool(offer.get("client_no_context_takeover")))
        assert agreed.remote_max_window_bits == (offer.get("server_max_window_bits") or 15)

        compressed = []
        decode = agreed.decode

        def watched(frame, **options):
            compressed.append(frame.rsv1)
            return decode(frame, **options)

        agreed.decode = watched
        for length in lengths:
            for message in (PROSE[:length], PROSE.encode()[:length]):
                socket.send(message if pieces == 1 else pieces_of(message, pieces))
                answer = socket.recv()
                assert type(answer) is type(message) and answer == message, f"{length} came back as {len(answer)}"
                assert any(compressed) or length < 1000, f"{length} came back as it was"
                compressed.clear()
    assert socket.protocol.close_code == 1000, socket.protocol.close_code
    print(f"{offer} in {pieces}: {2 * len(lengths)} messages")


talk({}, LENGTHS)
talk({}, LENGTHS, pieces=2)
talk({"client_max_window_bits": True}, SOME, pieces=7)
talk({"server_no_context_takeover": True}, SOME)
talk({"client_no_context_takeover": True}, SOME)
talk({"server_no_context_takeover": True, "client_no_context_takeover": True}, SOME, pieces=3)
for bits in range(9, 16):
    talk({"server_max_window_bits": bits}, SOME)
    talk({"client_max_window_bits": bits}, SOME, pieces=2)
for level in (1, 9):
    talk({}, SOME, settings={"level": level})
# What stored blocks look like.
talk({}, SOME, pieces=2, settings={"level": 0})

declined = ClientPerMessageDeflateFactory(server_max_window_bits=8)
with connect(URL, compression=None, extensions=[declined]) as socket:
    assert socket.protocol.extensions == []
