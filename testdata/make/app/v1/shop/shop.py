"""The shop: python3 -m shop."""

from vendor.tinyhttp import serve

CATALOGUE = {"apple": 30, "pear": 45, "quince": 120}


def listing():
    return "\n".join(f"{name:10} {cents / 100:8.2f}" for name, cents in CATALOGUE.items())


def main():
    serve("0.0.0.0", 8080, {"/": listing})


if __name__ == "__main__":
    main()
