"""What the Python programs share: the command line, the lines they print, the end of standard input."""

import argparse
import sys
import threading

PARTITIONS = 6
BATCH = 200


def arguments():
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    produce = commands.add_parser("produce")
    consume = commands.add_parser("consume")
    for command in (produce, consume):
        command.add_argument("--bootstrap", required=True)
        command.add_argument("--topic", required=True)
    produce.add_argument("--first", type=int, required=True)
    produce.add_argument("--count", type=int, required=True)
    consume.add_argument("--group", required=True)
    consume.add_argument("--name", required=True)
    consume.add_argument("--protocol", choices=["classic", "consumer"], default="classic")
    consume.add_argument("--assignor", choices=["eager", "cooperative"], default="eager")
    return parser.parse_args()


def records(args):
    """What to produce: (partition, bytes of key and value)."""
    for i in range(args.first, args.first + args.count):
        yield i % PARTITIONS, str(i).encode()


class Stop:
    """True once standard input has ended or said `stop`."""

    def __init__(self):
        self.event = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self):
        for line in sys.stdin:
            if line.strip() == "stop":
                break
        self.event.set()

    def __bool__(self):
        return self.event.is_set()


class Progress:
    """What this member owns, and what it was given and has not committed yet."""

    def __init__(self):
        self.owned = set()
        self.pending = {}
        self.uncommitted = 0

    def assign(self, partitions):
        """Owns exactly these from now on; positions were fetched anew."""
        self.owned = set(partitions)
        self.pending = {}
        self.uncommitted = 0
        self._say_owned()

    def add(self, partitions):
        """Owns these too; the others go on where they are."""
        self.owned |= set(partitions)
        self._say_owned()

    def remove(self, partitions):
        """Does not own these any more."""
        self.owned -= set(partitions)
        self.pending = {p: offset for p, offset in self.pending.items() if p in self.owned}
        self._say_owned()

    def record(self, partition, offset, value):
        print(f"record {partition} {offset} {value.decode()}")
        self.pending[partition] = offset + 1
        self.uncommitted += 1

    def to_commit(self):
        """Offsets by partition. Whoever reads the commit must find the records before it."""
        sys.stdout.flush()
        return dict(self.pending)

    def committed(self, offsets):
        """The broker acknowledged these."""
        for partition, offset in sorted(offsets.items()):
            print(f"committed {partition} {offset}", flush=True)
            if self.pending.get(partition) == offset:
                del self.pending[partition]
        self.uncommitted = 0

    def _say_owned(self):
        print("assigned", ",".join(str(p) for p in sorted(self.owned)), flush=True)


def complain(*what):
    print(*what, file=sys.stderr, flush=True)
