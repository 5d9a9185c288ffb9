#!/usr/bin/env python3
"""A mail server for the tests: aiosmtpd, which keeps what it takes.

    smtp_server.py --port-file FILE --messages FILE [--starttls | --tls] [--certificate PEM --key KEY]
                   [--user NAME --password PASSWORD] [--refuse N]

Listens on a free port of 127.0.0.1 and writes it to the port file. Each message that it takes is one line of JSON in the
messages file: {"from", "to", "user", "tls", "subject", "headers", "body"}. --starttls takes no mail before STARTTLS, --tls
begins with TLS. With --user it takes mail only after authentication. --refuse answers the first N messages with 451.
Ends when its standard input is closed.
"""

import argparse
import asyncio
import email
import email.policy
import json
import os
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword


class Keeper:
    def __init__(self, path, refuse):
        self.path = path
        self.refuse = refuse

    async def handle_DATA(self, server, session, envelope):
        if self.refuse > 0:
            self.refuse -= 1
            return "451 4.7.1 try again later"
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        login = session.auth_data
        line = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "user": login.login.decode() if login else None,
            "tls": session.ssl is not None or server.transport.get_extra_info("sslcontext") is not None,
            "subject": message["subject"],
            "headers": {name.lower(): value for name, value in message.items()},
            "body": message.get_content(),
        }
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        return "250 2.0.0 taken"


def authenticator(user, password):
    def check(server, session, envelope, mechanism, data):
        good = isinstance(data, LoginPassword) and data.login == user.encode() and data.password == password.encode()
        return AuthResult(success=good, handled=False, auth_data=data if good else None)

    return check


async def serve(options):
    context = None
    if options.certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(options.certificate, options.key)
    keeper = Keeper(options.messages, options.refuse)
    settings = {"enable_SMTPUTF8": True}
    if options.starttls:
        settings.update(tls_context=context, require_starttls=True)
    if options.user:
        settings.update(authenticator=authenticator(options.user, options.password), auth_required=True)
        settings.update(auth_require_tls=options.starttls)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(keeper, **settings), "127.0.0.1", 0, ssl=context if options.tls else None
    )
    with open(options.port_file + ".new", "w", encoding="ascii") as file:
        file.write(str(server.sockets[0].getsockname()[1]))
    os.rename(options.port_file + ".new", options.port_file)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port-file", required=True)
    parser.add_argument("--messages", required=True)
    parser.add_argument("--starttls", action="store_true")
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--certificate")
    parser.add_argument("--key")
    parser.add_argument("--user")
    parser.add_argument("--password")
    parser.add_argument("--refuse", type=int, default=0)
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
