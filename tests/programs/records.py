"""records.py COUNT: a plain Python program that keeps COUNT records in memory, touches them in several orders and prints
a digest. Its output depends on COUNT alone."""
import hashlib
import sys


def main() -> None:
    count = int(sys.argv[1])
    records = [{"key": i * 2654435761 % (1 << 32), "text": f"record {i} of {count}", "tags": [i % 7, i % 11]} for i in range(count)]
    by_key = sorted(records, key=lambda record: record["key"])
    index = {record["key"]: position for position, record in enumerate(by_key)}
    digest = hashlib.sha256()
    for i in range(0, count, 3):
        record = records[i]
        digest.update(f"{index[record['key']]} {record['text']} {sum(record['tags'])}\n".encode())
    groups: dict[int, int] = {}
    for record in by_key:
        groups[record["tags"][1]] = groups.get(record["tags"][1], 0) + len(record["text"])
    print(digest.hexdigest(), sorted(groups.items()))


if __name__ == "__main__":
    main()
