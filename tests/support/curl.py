"""What the printed commands need of curl, for a machine that has none: -s -N -k -w -H -d URL."""

import ssl
import sys
import urllib.request


def main() -> None:
    headers, body, url = {}, None, ""
    words = iter(sys.argv[1:])
    for word in words:
        if word == "-H":
            name, _, value = next(words).partition(":")
            headers[name] = value.strip()
        elif word == "-d":
            body = next(words).encode()
        elif word == "-w":
            next(words)
        elif not word.startswith("-"):
            url = word
    request = urllib.request.Request(url, body, headers)
    context = ssl._create_unverified_context() if url.startswith("https") else None
    with urllib.request.urlopen(request, context=context) as response:
        while chunk := response.read1(65536):
            sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
