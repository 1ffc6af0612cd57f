"""Samples of what masking hides and shows, by place: commands that take passwords, formats of texts, names."""

from __future__ import annotations

import json

import pytest

from ocitool import masking
from ocitool.masking.files import secret_path
from ocitool.masking.names import secret_name

SECRET = "hunter"
LINES = {
    "curl --user=me:hunter7 evil": "--user=me:*** evil",
    "curl -fsSLu me:hunter7 evil": "evil",
    "curl -su'me:hunter7 hunter8' evil": "evil",
    "curl -H X-Api-Key:hunter7 evil": "X-Api-Key:*** evil",
    "curl -HX-Api-Key:hunter7 evil": "evil",
    "curl -b 'session=hunter7; csrftoken=hunter8' evil": "evil",
    "curl -x u:hunter7@proxy:3128 evil": "proxy:3128 evil",
    "curl --key /k.pem --cert c.pem:hunter7 evil": "--key /k.pem --cert c.pem:*** evil",
    "echo hunter7 | docker login --password-stdin evil": "docker login --password-stdin evil",
    "echo -n 'hunter7 hunter8' | docker login -u u --password-stdin evil": "echo -n *** | docker login",
    "printf %s hunter7 | podman login --password-stdin evil; echo shown": "echo shown",
    "docker login --password-stdin evil <<< 'hunter7 hunter8'": "--password-stdin evil <<< ***",
    "echo hunter7 | sudo -S curl evil": "| sudo -S curl evil",
    "echo hunter7 | gh auth login --with-token && curl evil": "gh auth login --with-token && curl evil",
    "(echo hunter7; echo hunter7) | passwd; curl evil": "| passwd; curl evil",
    "{ echo hunter7; sleep 1; echo hunter7; } | passwd && curl evil": "sleep 1; echo ***; } | passwd && curl evil",
    "for i in 1 2; do echo hunter7; done | passwd && curl evil": "done | passwd && curl evil",
    "(printf 'hunter7\\n' && (echo hunter7)) | passwd && curl evil": "| passwd && curl evil",
    "yes hunter7 | passwd; curl evil": "yes *** | passwd; curl evil",
    "echo hunter7 | { sleep 1; passwd; }; curl evil": "sleep 1; passwd; }; curl evil",
    "echo hunter7 | tee /evil | docker login --password-stdin h": "| tee /evil | docker login",
    "(echo hunter7 | cat) | passwd; curl evil": "| cat) | passwd; curl evil",
    "cat <<< hunter7 | passwd --stdin u; curl evil": "| passwd --stdin u; curl evil",
    "passwd u <<EOF\nhunter7\nhunter7\nEOF\ncurl evil": "passwd u <<EOF\n***\nEOF\ncurl evil",
    "passwd <<-'X' && curl evil\n\thunter7\n\tX\ncurl evil": "X\ncurl evil",
    "htpasswd -bnBC 10 '' hunter7 | tr -d evil": "| tr -d evil",
    "grafana-cli admin reset-admin-password hunter7; curl evil": "reset-admin-password ***; curl evil",
    "cargo login --registry evil hunter7": "--registry evil ***",
    "mkpasswd -m evil hunter7": "-m evil ***",
    "openssl passwd -6 -salt a hunter7; curl evil": "curl evil",
    "PASSWORD=hunter7`evil`": "PASSWORD=***`evil`",
    "cargo login hunter7 && curl evil": "cargo login *** && curl evil",
    "poetry config http-basic.x u hunter7; curl evil": "http-basic.x u ***; curl evil",
    "poetry config pypi-token.pypi hunter7; curl evil": "curl evil",
    "nmcli dev wifi connect x password hunter7 ifname evil": "ifname evil",
    "cqlsh -u u -p hunter7 evil": "-p *** evil",
    "snmpwalk -v3 -A hunter7 -X hunter8 evil": "-A *** -X *** evil",
    "doctl auth init -t hunter7 && curl evil": "curl evil",
    "useradd -p $(mkpasswd hunter7) evil": "$(mkpasswd ***) evil",
    "setx TOKEN hunter7 & curl evil": "setx TOKEN *** & curl evil",
    "chpasswd <<< root:hunter7": "root:***",
    "chpasswd <<EOF\nroot:hunter7\nEOF\ncurl evil": "curl evil",
    "htpasswd -bc /etc/f u hunter7; curl evil": "htpasswd -bc /etc/f u ***; curl evil",
    "htpasswd -nb u 'hunter7 hunter8' > /evil": "> /evil",
    "useradd -p hunter7 u; curl evil": "u; curl evil",
    "rabbitmqctl add_user u hunter7 && curl evil": "add_user u *** && curl evil",
    "vault login hunter7 && curl evil": "curl evil",
    "mysqladmin -u root password hunter7; curl evil": "password ***; curl evil",
    "mysql -e \"SET PASSWORD FOR r = PASSWORD('hunter7'); DROP TABLE x\"": "DROP TABLE x",
    "mysql -e \"ALTER USER r IDENTIFIED WITH p BY 'hunter7'; DROP TABLE x\"": "DROP TABLE x",
    "sqlplus scott/hunter7@db @evil.sql": "scott/***@db @evil.sql",
    "app jdbc:oracle:thin:scott/hunter7@//h:1521/x": "@//h:1521/x",
    "openssl enc -aes-256-cbc -k hunter7 -key /k.pem -in evil": "-key /k.pem -in evil",
    "ssh-keygen -N hunter7 -f /evil": "-f /evil",
    "composer config http-basic.h u hunter7 && curl evil": "curl evil",
    "bundle config gems.h u:hunter7 && curl evil": "gems.h u:*** && curl evil",
    "helm upgrade --set a.password=hunter7,image.tag=evil r": "image.tag=evil r",
    "mount -o user=u,password=hunter7,vers=3 //h/s /evil": "vers=3 //h/s /evil",
    "app 'Server=db;Password=hunter7 hunter8;Database=evil'": "Database=evil",
    "app 'AccountName=a;AccountKey=hunter7==;EndpointSuffix=evil'": "EndpointSuffix=evil",
    "echo -e 'machine h\\nlogin u\\npassword hunter7' > /evil": "> /evil",
    "cat <<EOF\n<password>hunter7</password>\nEOF\ncurl evil": "curl evil",
    "cat <<EOF > /x\npassword: hunter7 hunter8\nEOF\ncurl evil": "curl evil",
    "TOKENS=(hunter7 'hunter8 a'); curl evil": "curl evil",
    '[ "$TOKEN" = hunter7 ] && curl evil': "] && curl evil",
    "powershell -Command \"(ConvertTo-SecureString 'hunter7' -AsPlainText); curl evil\"": "curl evil",
}
SHOWN = [
    "PASSWORD=`evil`",
    "PASSWORD=${X:=`evil`}",
    "openssl passwd -6 -in evil",
    "cargo login --registry evil",
    "(echo curl evil; echo b) | sh; passwd -d u",
    "{ echo evil; } > /x; cat /x | passwd",
    "echo evil; cat /x | tee /y | passwd --stdin u",
    "for i in a; do echo evil; done; passwd -l u",
    "cat <<EOF > /evil\ncurl evil\nEOF\npasswd -l u",
    "echo 'u ALL=(ALL) NOPASSWD: evil' >> /etc/sudoers",
    "cargo install evil && poetry config virtualenvs.create evil",
    "echo curl evil > /x; docker login --password-stdin h",
    "app --secret id=evil,src=/x --mount=type=secret,id=evil",
    "ssh -o StrictHostKeyChecking=no evil",
    "gpg --passphrase-fd 0 evil",
    "app --token-file /run/evil --key /certs/evil.pem",
    "bundle config mirror.https://h https://evil",
    "TLS_KEY=/etc/tls/evil.key AUTH=false app",
    "docker run myorg/auth:evil -p 80:80",
    "SSH_ASKPASS=/bin/evil PASSWORD_COMMAND=evil app",
]
TEXTS = {
    json.dumps({"password": [SECRET, SECRET], "b": "shown"}): "shown",
    json.dumps({"password": {"value": SECRET}, "b": "shown"}): "shown",
    json.dumps({"auth": {"type": "shown", "x": SECRET}}): "shown",
    json.dumps({"env": [{"name": "DB_PASSWORD", "value": SECRET}, {"name": "B", "value": "shown"}]}): "shown",
    json.dumps({"env": [f"PASSWORD={SECRET} {SECRET}", "B=shown"]}): "B=shown",
    json.dumps({"cmd": f"curl -u me:{SECRET} shown"}): "shown",
    "{password: hunter7 hunter8, b: shown}": "b: shown",
    "password: hunter7 'hunter8 & hunter9\nb: shown": "b: shown",
    "db:\n  password: |\n    hunter7\n    hunter8\n  b: shown": "b: shown",
    "tokens:\n  - hunter7\n  - hunter8\nb: shown": "b: shown",
    "password = hunter7 hunter8\nb = shown": "b = shown",
    '<add key="Password" value="hunter7 hunter8"/><b>shown</b>': "<b>shown</b>",
    "<password>hunter7</password><b>shown</b>": "<b>shown</b>",
    "Server=shown;Pwd=hunter7 hunter8;Encrypt=no": "Encrypt=no",
    "Bearer hunter7": "Bearer ***",
    "shown:hunter7@tcp(h:3306)/db": "shown:***@tcp(h:3306)/db",
    "DB_PASSWORD=hunter7 hunter8": "DB_PASSWORD=***",
    "-----BEGIN PRIVATE KEY-----\nhunter7\nhunter8\n-----END PRIVATE KEY-----": "END PRIVATE KEY",
    "https://h/x?a=shown&X-Amz-Signature=hunter7": "a=shown",
    "https://hooks.slack.com/services/T0/B0/hunter7": "hooks.slack.com/services/***",
}


@pytest.mark.parametrize("line", LINES)
def test_a_password_that_a_command_takes_is_hidden_and_the_rest_is_shown(line: str) -> None:
    for shown in (masking.instruction(f"RUN /bin/sh -c {line}"), masking.value(["/bin/sh", "-c", line], "Cmd")[2]):
        assert (True, False) == (LINES[line] in shown, SECRET in shown), shown


def test_the_command_behind_a_variable_that_env_takes_away_is_shown() -> None:
    assert ["env", "-u", "PASSWORD", "evil"] == masking.value(["env", "-u", "PASSWORD", "evil"], "Cmd")
    assert ["app", "password", "***"] == masking.value(["app", "password", "hunter7"], "Cmd")


@pytest.mark.parametrize("line", SHOWN)
def test_what_is_no_secret_is_shown_as_it_is(line: str) -> None:
    assert line == masking.value(["/bin/sh", "-c", line], "Cmd")[2]


@pytest.mark.parametrize("text", TEXTS)
def test_a_secret_in_a_format_is_hidden_and_the_rest_is_shown(text: str) -> None:
    for shown in (masking.variable("x", text), masking.value([f"X={text}"], "Env")[0]):
        assert (True, False) == (TEXTS[text] in shown, SECRET in shown), shown


@pytest.mark.parametrize(
    "path",
    ["app/db_password", "secrets/db_password", "credentials.csv", "app/passwords.txt", "api_key.txt", "gcp-key.json", "x.p8",
     "root/.ssh/id_rsa.bak", "app/.env~", "server.key.old", "config/secrets.toml", "jwt_secret", "prod.tfvars",
     "terraform.tfstate.backup", "etc/ssl/private/server", "etc/ppp/chap-secrets", "root/.mysql_history", "etc/shadow.bak~",
     "application-secrets.yml", "oauth_token", ".terraform.d/credentials.tfrc.json", "usr/src/app/secret.txt"],
)  # fmt: skip
def test_files_that_are_called_as_secrets_are(path: str) -> None:
    assert secret_path(path.encode())


@pytest.mark.parametrize(
    "path",
    ["usr/bin/passwd", "etc/passwd", "etc/pam.d/passwd", "usr/lib/apt/apt-key", "usr/share/doc/x/secret.txt", "src/token.py",
     "usr/share/bash-completion/completions/passwd", "app/node_modules/x/token.json", "app/api_key.txt.example",
     "a/tokenizer.json",
     "app/auth.md", "app/keyboard.txt", "app/public-key.txt", "app/id_rsa.pub.bak", "app/author.txt", "a/password_policy.yml",
     "~"],
)  # fmt: skip
def test_files_of_programs_and_about_secrets_are_none(path: str) -> None:
    assert not secret_path(path.encode())


@pytest.mark.parametrize("name", ["GITHUB_PAT", "ROOTPW", "APPKEY", "SLACK_WEBHOOK_URL", "PASSKEY", "a.basicauth.users"])
def test_further_names_of_secrets(name: str) -> None:
    assert secret_name(name)


def test_an_argument_before_a_shell_of_its_own_does_not_hide_the_command() -> None:
    assert "|1 TOKEN=*** /usr/bin/python3 -c evil" == masking.instruction("|1 TOKEN=hunter7 /usr/bin/python3 -c evil")


@pytest.mark.parametrize("pair", [("TOKEN='a' x", "TOKEN=a x"), ("TOKEN=*** x", "TOKEN=a x"), ("TOKEN=a x", "TOKEN=b x")])
def test_values_that_differ_and_look_the_same_are_said_to(pair: tuple[str, str]) -> None:
    before, after = (["sh", "-c", line] for line in pair)
    assert masking.changed_secret(before, after, "Entrypoint")
    assert not masking.changed_secret(before, before, "Entrypoint")


def test_a_history_entry_that_looks_the_same_on_both_sides_is_said_to_differ() -> None:
    from ocitool.comparison.result import ConfigChange
    from ocitool.report.diff_view import config_view

    before, after = ({"created_by": f"|1 TOKEN={value} /bin/sh -c x", "comment": value} for value in ("hunter", "***"))
    (row,) = config_view([ConfigChange("config", "/history/0", None, "modified", before, after)]).rows
    assert row.hidden_change
