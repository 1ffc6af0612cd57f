"""HTTP/1.1 for registries: sockets, TLS, proxies, connections, messages. Nothing of images or the distribution-spec.

In the order in which a request passes them:

    addresses.py          URLs split and resolved; the network zone of an address
    trust.py              TLS contexts: certificate authorities, certs.d, client certificates
    connector.py          opens sockets: address checks, TLS, cancellation
    proxies.py            the proxy for a URL, from the environment
    proxy_connections.py  connections through proxies, made by urllib3
    http1.py              one HTTP/1.1 request and its response on a socket
    connections.py        the connections to a host, kept alive and used again
    response_bodies.py    bodies of responses, read within bounds and decoded
"""
