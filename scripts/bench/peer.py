"""What the peers in Python share: lines in, times out."""
import sys
import time


def serve(name, cases):
    """Says who this is; then does, for each line "CASE ARGUMENTS...", what the case prepared for these
    arguments, and answers with the CPU seconds of the process that it took and those that passed."""
    prepared = {}
    print(name, flush=True)
    for line in sys.stdin:
        case, *arguments = line.split()
        if line not in prepared:
            prepared[line] = cases[case](*(int(a) if a.isdigit() else a for a in arguments))
            prepared[line]()
        start, wall = time.process_time(), time.perf_counter()
        prepared[line]()
        print(time.process_time() - start, time.perf_counter() - wall, flush=True)
