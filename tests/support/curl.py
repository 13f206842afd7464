"""What printed commands need of curl, for a machine that has none: -s -N -f -k -w -H -d -X URL."""

import ssl
import sys
import urllib.error
import urllib.request

_FAILED = 22  # as curl says it
_WITH_VALUE = ("-H", "-d", "-w", "-X")


def main() -> None:
    given: dict[str, list[str]] = {option: [] for option in (*_WITH_VALUE, "URL")}
    words = iter(sys.argv[1:])
    for word in words:
        if word in _WITH_VALUE:
            given[word].append(next(words))
        elif not word.startswith("-"):
            given["URL"].append(word)
    [url] = given["URL"]
    request = urllib.request.Request(
        url,
        given["-d"][0].encode() if given["-d"] else None,
        {name: value.strip() for name, _, value in (h.partition(":") for h in given["-H"])},
        method=given["-X"][0] if given["-X"] else None,
    )
    context = ssl._create_unverified_context() if url.startswith("https") else None
    try:
        response = urllib.request.urlopen(request, context=context)
    except urllib.error.HTTPError as error:
        if "-sf" in sys.argv:
            sys.exit(_FAILED)
        response = error
    with response:
        while chunk := response.read1(65536):
            sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
    sys.stdout.write("".join(given["-w"]).replace("\\n", "\n"))


if __name__ == "__main__":
    main()
