#!/usr/bin/env python3
"""Holds a server to its own OpenAPI document, with libraries that are not grantd's.

Needs requirements.txt. Validates the document at --url/openapi.json against the specification, then asks every path with
every method that it names, in each of the ways that stdin lists, and checks each answer: the status, the content type and
the headers are documented, and the body fits its schema. Prints {"asked": ["POST /token 200", …]}.

stdin: [{"path": …, "method": …, "headers": {…}, "form": {…} or null, "fill": {"list": …}}, …]; what it does not name is asked
as a stranger would, without anything.
"""

import argparse
import json
import sys
import urllib.error
import urllib.parse
import urllib.request

try:
    from jsonschema import Draft202012Validator
    from openapi_spec_validator import OpenAPIV31SpecValidator
    from referencing import Registry, Resource
    from referencing.jsonschema import DRAFT202012
except ImportError:
    sys.exit("openapi-spec-validator is not installed for this Python: run pip install -r tests/pyjwt/requirements.txt")


def ask(url, method, headers, form):
    body = urllib.parse.urlencode(form, doseq=True).encode() if form is not None else None
    request = urllib.request.Request(url, data=body, headers=headers, method=method.upper())
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.headers, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


class Document:
    def __init__(self, document):
        self.document = document
        resource = Resource(contents=document, specification=DRAFT202012)
        self.registry = Registry().with_resource("urn:openapi", resource)

    def errors(self, schema, value):
        validator = Draft202012Validator(absolute(schema), registry=self.registry)
        return [error.message for error in validator.iter_errors(value)]

    def resolve(self, node):
        while "$ref" in node:
            found = self.document
            for name in node["$ref"].removeprefix("#/").split("/"):
                found = found[name]
            node = found
        return node

    def complaints(self, operation, status, headers, body):
        """What of an answer the document does not say."""
        answer = operation["responses"].get(str(status))
        if answer is None:
            return [f"the status is not documented: {body[:300]!r}"]
        if status == 304 or not body:
            return []
        media = headers["Content-Type"].split(";")[0]
        content = answer.get("content", {})
        if media not in content:
            return [f"the content type {media} is not documented"]
        value = json.loads(body) if media == "application/json" else body.decode()
        found = self.errors(content[media].get("schema", {}), value)
        examples = content[media].get("examples", {}).values()
        if status >= 400 and examples and value not in [example["value"] for example in examples]:
            found.append(f"this error is not documented: {value}")
        documented = {name.lower() for name in answer.get("headers", {})}
        told = {name.lower() for name in headers.keys()} & {"retry-after", "www-authenticate", "dpop-nonce", "etag"}
        found += [f"the header {name} is not documented" for name in sorted(told - documented)]
        return found


def absolute(schema):
    """References of the document, as references into it."""
    if isinstance(schema, dict):
        return {name: f"urn:openapi{value}" if name == "$ref" else absolute(value) for name, value in schema.items()}
    return [absolute(item) for item in schema] if isinstance(schema, list) else schema


def main():
    parser = argparse.ArgumentParser(description="Holds a server to its OpenAPI document.")
    parser.add_argument("--url", required=True, help="where the server listens: the host alone")
    parser.add_argument("--document", required=True, help="the path of the document there")
    arguments = parser.parse_args()
    ways = json.load(sys.stdin)

    status, _, body = ask(f"{arguments.url}{arguments.document}", "get", {}, None)
    if status != 200:
        sys.exit(f"the document is answered with {status}")
    read = json.loads(body)
    OpenAPIV31SpecValidator(read).validate()
    document = Document(read)
    for name, schema in read["components"]["schemas"].items():
        Draft202012Validator.check_schema(schema)

    asked, found = [], []
    for path, item in read["paths"].items():
        for method, operation in item.items():
            own = [way for way in ways if way["path"] == path and way["method"] == method]
            stranger = {"headers": {}, "form": {} if "requestBody" in operation else None, "fill": {"list": "0"}}
            for way in [*own, stranger]:
                at = path
                for name, value in way.get("fill", {}).items():
                    at = at.replace(f"{{{name}}}", value)
                content = operation.get("requestBody", {}).get("content", {})
                for media in content.values():
                    if way["form"] and way.get("conforms", True):
                        wrong = document.errors(media["schema"], way["form"])
                        found += [f"{method} {path}: this form is not documented: {error}" for error in wrong]
                status, headers, body = ask(f"{arguments.url}{at}", method, way["headers"], way["form"])
                asked.append(f"{method.upper()} {path} {status}")
                complaints = document.complaints(operation, status, headers, body)
                found += [f"{asked[-1]}: {complaint}" for complaint in complaints]
    for way in ways:
        if way["method"] not in read["paths"].get(way["path"], {}):
            found.append(f"{way['method']} {way['path']} is not documented")
    if found:
        sys.exit("\n".join(found))
    print(json.dumps({"asked": asked}))


if __name__ == "__main__":
    main()
