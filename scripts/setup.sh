#!/bin/sh
# Brings what building, running or testing callfold needs and does not find here, and nothing else.
#
#     scripts/setup.sh build|run|test
#
# `build` and `run` want a Rust toolchain, a C++ compiler, cmake, make and a nats-server; `test` also
# PostgreSQL's server programs, Chromium and ChromeDriver. With nothing missing it asks nobody for anything,
# needs no root and is done at once. Exit codes: 0 all there, 64 bad usage, 69 something is missing and could
# not be brought (the text says what to type).
#
# Tried on Debian 12 as root and as a plain user. Not tried: Ubuntu, other Linux distributions, macOS; there
# the script only names what to install (Ubuntu: installs it by apt).
#
# POSIX sh, since a fresh macOS has bash 3.2.
set -eu

RUST_MIN=1.94   # `rust-version` in Cargo.toml
NATS_MIN=2.10   # the first with `sync_interval`; the client's feature set asks for the same
NATS_SUITE=trixie   # Debian 13: nats-server 2.10.27. Debian 12's own is 2.9.10

root=$(cd "$(dirname "$0")/.." && pwd)
tools=$root/.tools
# A test shows the script other systems through this variable.
os_release=${CALLFOLD_SETUP_OS_RELEASE:-/etc/os-release}
# rustup's own place: a shell that was open during its installation does not have it on PATH yet.
PATH=$PATH:${CARGO_HOME:-${HOME:-/root}/.cargo}/bin
export PATH

say() { printf '%s\n' "setup: $*"; }
warn() { printf '%s\n' "setup: $*" >&2; }
unavailable() { warn "$@"; exit 69; }
have() { command -v "$1" >/dev/null 2>&1; }

# at_least 2.10.27 2.10: is the first version the second or newer? Numbers, so that 2.9 is older than 2.10.
at_least() {
    set -- "${1%%.*}" "${1#*.}" "${2%%.*}" "${2#*.}"
    set -- "$1" "${2%%.*}" "$3" "${4%%.*}"
    case $1$2 in *[!0-9]*|'') return 1 ;; esac
    [ "$1" -gt "$3" ] || { [ "$1" -eq "$3" ] && [ "$2" -ge "$4" ]; }
}

# What to type, per system, for what this script could not bring itself.
# $1: words out of `compiler cmake make nats postgres browser`.
how_to_install() {
    apt='' dnf='' pacman='' zypper='' brew=''
    for thing in $1; do
        case $thing in
            compiler) apt="$apt g++"; dnf="$dnf gcc-c++"; pacman="$pacman gcc"; zypper="$zypper gcc-c++" ;;
            cmake) apt="$apt cmake"; dnf="$dnf cmake"; pacman="$pacman cmake"; zypper="$zypper cmake"; brew="$brew cmake" ;;
            make) apt="$apt make"; dnf="$dnf make"; pacman="$pacman make"; zypper="$zypper make" ;;
            # Debian's server runs there too, and this keyring is all that fetching it needs.
            nats) [ "$system" != ubuntu ] || apt="$apt debian-archive-keyring"
                pacman="$pacman nats-server"; brew="$brew nats-server" ;;
            postgres) apt="$apt postgresql"; dnf="$dnf postgresql-server"; pacman="$pacman postgresql"
                zypper="$zypper postgresql-server"; brew="$brew postgresql@17" ;;
            browser) [ "$system" = ubuntu ] || apt="$apt chromium chromium-driver"
                dnf="$dnf chromium chromedriver"; pacman="$pacman chromium"; zypper="$zypper chromium chromedriver" ;;
        esac
    done
    case $system in
        debian | ubuntu)
            [ -z "$apt" ] || echo "    apt-get update && apt-get install -y --no-install-recommends$apt" ;;
        fedora) [ -z "$dnf" ] || echo "    dnf install$dnf    # not tried here" ;;
        arch) [ -z "$pacman" ] || echo "    pacman -S --needed$pacman    # not tried here" ;;
        suse) [ -z "$zypper" ] || echo "    zypper install$zypper    # not tried here" ;;
        macos) [ -z "$brew" ] || echo "    brew install$brew    # as yourself; not tried here" ;;
        *) echo "    this system's packages for (Debian's names):$apt    # not tried here" ;;
    esac
    # What is not in the package list of a system.
    case $system:" $1 " in
        macos:*" compiler "* | macos:*" make "*) echo "    xcode-select --install    # as yourself; not tried here" ;;
    esac
    case $system:" $1 " in
        macos:*" browser "*) echo "    brew install --cask chromium chromedriver    # as yourself; not tried here" ;;
        ubuntu:*" browser "*) echo "    snap install chromium    # brings ChromeDriver as well; not tried here" ;;
    esac
    case $system:" $1 " in
        arch:* | macos:* | ubuntu:*) ;;
        *:*" nats "*) echo "    nats-server $NATS_MIN or newer from https://github.com/nats-io/nats-server/releases," \
            "on PATH or as $tools/nats-server" ;;
    esac
}

detect_system() {
    system=other
    if [ "$(uname -s)" = Darwin ]; then
        system=macos
    elif [ -r "$os_release" ]; then
        # ID and ID_LIKE are shell assignments by os-release(5); read as text, not run.
        for word in $(sed -n 's/^ID=//p' "$os_release" | tr -d \"\') $(sed -n 's/^ID_LIKE=//p' "$os_release" | tr -d \"\'); do
            case $word in
                debian) system=debian ;;
                ubuntu) system=ubuntu ;;
                fedora | rhel | centos) system=fedora ;;
                arch) system=arch ;;
                suse | opensuse*) system=suse ;;
                *) continue ;;
            esac
            break
        done
    fi
}

check_rust() {
    if ! have rustc || ! have cargo; then
        unavailable "no Rust toolchain found: install one (https://rustup.rs), then try again"
    fi
    # "rustc 1.95.0 (59807616e 2026-04-14)"
    rust=$(rustc --version 2>/dev/null | sed -n 's/^rustc \([0-9][0-9.]*\).*/\1/p')
    at_least "$rust" "$RUST_MIN" ||
        unavailable "rustc ${rust:-of unknown version} is too old, $RUST_MIN or newer is needed: run \`rustup update stable\`"
}

# Prints the version of a nats-server ("nats-server: v2.10.27"), nothing when it does not run.
nats_version() { "$1" --version 2>/dev/null | sed -n 's/^nats-server: v\{0,1\}\([0-9][0-9.]*\).*/\1/p'; }

nats_adequate() {
    [ -f "$1" ] && [ -x "$1" ] || return 1
    nats=$(nats_version "$1")
    if at_least "$nats" "$NATS_MIN"; then
        say "nats-server $nats ($1)"
    else
        say "passing over $1: version ${nats:-unknown}, $NATS_MIN or newer is needed"
        return 1
    fi
}

# The order in which `callfold up` looks: the setting, PATH (an old one does not hide a newer one), .tools.
find_nats() {
    if [ -n "${CALLFOLD_NATS_SERVER:-}" ]; then
        nats_adequate "$CALLFOLD_NATS_SERVER" && return 0
        [ -x "$CALLFOLD_NATS_SERVER" ] || warn "CALLFOLD_NATS_SERVER names no program: $CALLFOLD_NATS_SERVER"
    fi
    # Empty PATH entries (the working folder) are left out on purpose.
    set -f
    IFS_was=$IFS; IFS=:
    for folder in $PATH; do
        IFS=$IFS_was; set +f
        [ -n "$folder" ] && nats_adequate "$folder/nats-server" && return 0
    done
    IFS=$IFS_was; set +f
    nats_adequate "$tools/nats-server"
}

# The mirror this system already uses, so that a local or mandated one is kept.
debian_mirror() {
    mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
        sed -n 's/^URIs:[[:space:]]*//p; s/^deb[[:space:]]\{1,\}\(\[[^]]*\][[:space:]]*\)\{0,1\}\([^[:space:]]*\).*/\2/p' |
        tr ' ' '\n' | grep -E '^https?://.*/debian/?$' | head -n 1)
    echo "${mirror:-http://deb.debian.org/debian}"
}

archive_keyring() {
    for file in /usr/share/keyrings/debian-archive-keyring.gpg /usr/share/keyrings/debian-archive-keyring.pgp \
        /usr/share/keyrings/debian-archive-$NATS_SUITE-automatic.gpg; do
        if [ -r "$file" ]; then echo "$file"; break; fi
    done
}

# Debian's own package of a later release, unpacked beside the sources: a private sources list, state and
# cache, so that the system's apt neither learns of that release nor installs anything. apt checks the
# signature against the archive's keyring; no root is needed.
fetch_nats() {
    keyring=$(archive_keyring)
    if [ -z "$keyring" ] || ! have apt-get || ! have dpkg-deb; then
        return 1
    fi
    mirror=$(debian_mirror)
    say "fetching nats-server of Debian $NATS_SUITE from $mirror into .tools (the system stays as it is)"
    apt=$tools/apt
    rm -rf "$apt"
    mkdir -p "$apt/state/lists/partial" "$apt/cache/archives/partial" "$apt/log" "$apt/package"
    : >"$apt/status"
    cat >"$apt/callfold.sources" <<SOURCES
Types: deb
URIs: $mirror
Suites: $NATS_SUITE
Components: main
Targets: Packages
Signed-By: $keyring
SOURCES
    # apt reads the file APT_CONFIG names first, then /etc/apt/apt.conf.d, then the main file: what clears the
    # system's settings has to stand in the main file. Its proxies stay; its hooks would run for our lists too.
    # As root apt would hand the download to its user _apt, who may not read a folder of ours.
    cat >"$apt/first.conf" <<CONF
Dir::Etc::main "$apt/main.conf";
CONF
    {
        [ ! -r /etc/apt/apt.conf ] || echo '#include "/etc/apt/apt.conf";'
        cat <<CONF
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear APT::Default-Release;
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "3";
Dir::Etc::sourcelist "$apt/callfold.sources";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State "$apt/state";
Dir::State::lists "$apt/state/lists";
Dir::State::status "$apt/status";
Dir::Cache "$apt/cache";
Dir::Cache::archives "$apt/cache/archives";
Dir::Log "$apt/log";
CONF
    } >"$apt/main.conf"
    (
        cd "$apt/package"
        APT_CONFIG=$apt/first.conf
        export APT_CONFIG
        apt-get -q -q --error-on=any update && apt-get -q -q download nats-server
    ) >"$apt/output" 2>&1 || {
        sed 's/^/    /' "$apt/output" >&2
        return 1
    }
    dpkg-deb -x "$apt"/package/nats-server_*.deb "$apt/tree" || return 1
    found=$(find "$apt/tree" -type f -name nats-server -perm -u+x | head -n 1)
    [ -n "$found" ] || return 1
    # A rename, so that a second setup beside this one never sees half a program.
    mv -f "$found" "$tools/nats-server"
    rm -rf "$apt"
    nats_adequate "$tools/nats-server"
}

# PostgreSQL's server programs are off PATH on Debian.
have_postgres() {
    have initdb && have postgres && return 0
    for file in /usr/lib/postgresql/*/bin/initdb /usr/pgsql-*/bin/initdb /opt/homebrew/opt/postgresql@*/bin/initdb \
        /usr/local/opt/postgresql@*/bin/initdb; do
        [ -x "$file" ] && [ -x "${file%initdb}postgres" ] && return 0
    done
    return 1
}

have_browser() {
    have chromedriver || have chromium.chromedriver || return 1
    have chromium || have chromium-browser || have google-chrome || have google-chrome-stable
}

missing_packages() {
    missing=''
    have c++ || have g++ || have clang++ || missing="$missing compiler"
    have cc || case $missing in *compiler*) ;; *) missing="$missing compiler" ;; esac
    have cmake || missing="$missing cmake"
    have make || missing="$missing make"
    if [ "$mode" = test ]; then
        have_postgres || missing="$missing postgres"
        have_browser || missing="$missing browser"
    fi
    missing=${missing# }
}

# Runs a command as root: directly, or by a sudo that asks nothing.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi
}

# $1: what is missing, in the words of `how_to_install`. Says nothing when it may not: the end of the script does.
apt_install() {
    packages=''
    for thing in $1; do
        case $thing in
            compiler) packages="$packages g++" ;;
            cmake) packages="$packages cmake" ;;
            make) packages="$packages make" ;;
            postgres) packages="$packages postgresql" ;;
            # Ubuntu's packages of these names only point at a snap.
            browser) [ "$system" = ubuntu ] || packages="$packages chromium chromium-driver" ;;
            nats) [ "$system" != ubuntu ] || packages="$packages debian-archive-keyring" ;;
        esac
    done
    [ -n "$packages" ] || return 0
    if ! have apt-get || { [ "$(id -u)" -ne 0 ] && ! { have sudo && sudo -n true 2>/dev/null; }; }; then
        return 0
    fi
    say "installing by apt:$packages"
    # The package would set up a database cluster of its own and start it; the tests make theirs.
    no_cluster=''
    case $1 in
        *postgres*)
            if [ ! -e /etc/postgresql-common ]; then
                no_cluster=/etc/postgresql-common/createcluster.d/callfold-setup.conf
                as_root mkdir -p "${no_cluster%/*}"
                echo 'create_main_cluster = false' | as_root tee "$no_cluster" >/dev/null
            fi ;;
    esac
    installed=0
    as_root apt-get -q -q update || warn "apt-get update failed: trying with the package lists that are here"
    # shellcheck disable=SC2086 # a list of words
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -q install -y --no-install-recommends $packages || installed=$?
    [ -z "$no_cluster" ] || as_root rm -f "$no_cluster"
    [ "$installed" -eq 0 ] || warn "apt-get install ended with $installed"
}

mode=${1:-}
case $mode in
    build | run | test) [ $# -eq 1 ] || mode='' ;;
    *) mode='' ;;
esac
[ -n "$mode" ] || { warn "usage: scripts/setup.sh build|run|test"; exit 64; }

detect_system
check_rust
nats_missing=''
find_nats || nats_missing=nats
missing_packages
if [ -n "$missing$nats_missing" ]; then
    case $system in
        debian | ubuntu)
            wanted=$missing
            # Ubuntu only lacks the key that Debian's package is checked with.
            [ "$system:$nats_missing:$(archive_keyring)" != ubuntu:nats: ] || wanted="$wanted nats"
            apt_install "$wanted"
            missing_packages
            [ -z "$nats_missing" ] || ! fetch_nats || nats_missing='' ;;
    esac
fi
missing="$missing${nats_missing:+ $nats_missing}"
if [ -n "$missing" ]; then
    warn "missing: ${missing# }"
    warn "what to type (as root, where the command says nothing else), then try again:"
    how_to_install "$missing" >&2
    exit 69
fi
say "all there for \`$mode\` (rustc $rust)"
