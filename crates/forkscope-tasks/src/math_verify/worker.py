"""Worker of forkscope's math-verify verifier.

One JSON object a line on stdin, one answer a line on stdout: first the settings
(answered by the library's version), then checks. Ends with stdin.
"""
import json
import logging
import os
import sys

# Nothing is imported from the working directory.
sys.path[:] = [place for place in sys.path if place]
# Whatever a library prints goes nowhere; answers have a stream of their own.
answers = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
try:
    import resource
except ImportError:  # not on Windows; the parent's time limit stands
    resource = None


def say(answer):
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def limit(name, value):
    """Lowers a limit of this process for good, where the system has it."""
    kind = getattr(resource, name, None)
    if kind is None:
        return
    hard = resource.getrlimit(kind)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    try:
        resource.setrlimit(kind, (value, value))
    except (OSError, ValueError):
        pass


def allow_seconds(seconds):
    """Lets this process use so many more seconds of CPU time."""
    if resource is None:
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    soft = int(used.ru_utime + used.ru_stime) + seconds + 1
    soft = soft if hard == resource.RLIM_INFINITY else min(soft, hard)
    resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


class Exhausted(logging.Handler):
    """Notes what the library swallows: errors that say nothing of an answer."""

    found = None

    def emit(self, record):
        error = record.exc_info and record.exc_info[0]
        if error and issubclass(error, (MemoryError, RecursionError)):
            self.found = error.__name__


settings = json.loads(sys.stdin.buffer.readline())
limit("RLIMIT_AS", settings["memory_bytes"])
limit("RLIMIT_FSIZE", 0)
limit("RLIMIT_CORE", 0)
allow_seconds(settings["start_seconds"])
try:
    from importlib.metadata import version

    import math_verify
    from math_verify import ExprExtractionConfig, LatexExtractionConfig

    say({"version": version("math-verify")})
except Exception as error:
    say({"missing": f"{type(error).__name__}: {error}"[:300]})
    raise SystemExit(0)

exhausted = Exhausted()
log = logging.getLogger("math_verify")
log.addHandler(exhausted)
log.setLevel(logging.DEBUG)
log.propagate = False
# A text that was cut off ends anywhere: only what it marks is its answer.
marked = [
    LatexExtractionConfig(try_extract_without_anchor=False),
    ExprExtractionConfig(try_extract_without_anchor=False),
]
anywhere = [LatexExtractionConfig(), ExprExtractionConfig()]


def check(ask):
    """The library's verdict; time is the parent's to limit."""
    exhausted.found = None
    how = anywhere if ask["ended"] else marked
    gold = math_verify.parse("\\boxed{%s}" % ask["gold"], parsing_timeout=None)
    given = math_verify.parse(ask["text"], extraction_config=how, parsing_timeout=None)
    equal = bool(gold and given) and math_verify.verify(gold, given, timeout_seconds=None)
    if exhausted.found:
        return {"failed": exhausted.found}
    found = [part for part in given if isinstance(part, str)]
    shown = found[-1][:4096] if found else None
    return {"equal": bool(equal), "read": bool(gold and given), "found": shown}


for line in sys.stdin.buffer:
    allow_seconds(settings["check_seconds"])
    try:
        answer = check(json.loads(line))
    except Exception as error:
        answer = {"failed": type(error).__name__}
    say(answer)
