"""records.py COUNT: a plain Python program that keeps COUNT records in memory, walks through them several times, looks a few
up at random, and prints a digest. Its output depends on COUNT alone."""
import hashlib
import sys


def main() -> None:
    count = int(sys.argv[1])
    records = [{"key": i * 2654435761 % (1 << 32), "text": f"record {i} of {count}", "tags": [i % 7, i % 11]} for i in range(count)]
    digest = hashlib.sha256()
    for _ in range(3):
        for record in records:
            record["tags"][0] += record["key"] % 3
        digest.update(str(sum(sum(record["tags"]) for record in records)).encode())
    for i in range(2000):
        record = records[i * 40503 % count]
        digest.update(f"{record['key']} {record['text']}\n".encode())
    groups: dict[int, int] = {}
    for record in records:
        groups[record["tags"][1]] = groups.get(record["tags"][1], 0) + len(record["text"])
    print(digest.hexdigest(), sorted(groups.items()))


if __name__ == "__main__":
    main()
