"""A web server small enough for an example."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

__version__ = "0.3.1"


def serve(host, port, routes):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            route = routes.get(self.path)
            self.send_response(200 if route else 404)
            self.end_headers()
            if route:
                self.wfile.write(route().encode())

    ThreadingHTTPServer((host, port), Handler).serve_forever()
