"""The shop: python3 -m shop."""

from vendor.tinyhttp import serve

CATALOGUE = {"apple": 35, "pear": 45, "quince": 120, "medlar": 210}


def listing():
    return "\n".join(f"{name:10} {cents / 100:8.2f}" for name, cents in sorted(CATALOGUE.items()))


def health():
    return "ok"


def main():
    serve("0.0.0.0", 8080, {"/": listing, "/health": health})


if __name__ == "__main__":
    main()
