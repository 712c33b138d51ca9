#!/bin/sh
# What setup.sh does in situations that this machine is not in: a copy of it in a temporary folder meets a PATH of
# stubs. `make test` runs this; nothing is installed or fetched.
set -eu

script=$(cd "$(dirname "$0")" && pwd)/setup.sh
lab=$(mktemp -d)
trap 'rm -rf "$lab"' EXIT
cases=0
failures=0

# A program that prints one line.
stub() { # folder, name, line
    mkdir -p "$1"
    printf '#!/bin/sh\necho "%s"\n' "$3" >"$1/$2"
    chmod +x "$1/$2"
}

# One that writes down how it was called, then does what the lines on standard input say.
recorder() { # folder, name
    { printf '#!/bin/sh\necho "%s $*" >>"%s/calls"\n' "$2" "$lab"; cat; } >"$1/$2"
    chmod +x "$1/$2"
}

# A system with everything but a nats-server; each case takes away or adds.
given() { # the case, as a fact
    fact=$1
    cases=$((cases + 1))
    rm -rf "${lab:?}/tree" "${lab:?}/bin" "${lab:?}/other" "${lab:?}/calls"
    mkdir -p "$lab/tree/scripts" "$lab/bin" "$lab/home"
    cp "$script" "$lab/tree/scripts/setup.sh"
    : >"$lab/calls"
    for tool in sh cat chmod cp dirname env find grep head mkdir mv rm sed tee touch tr; do
        ln -s "$(command -v "$tool")" "$lab/bin/$tool"
    done
    stub "$lab/bin" rustc "rustc 1.95.0 (59807616e 2026-04-14)"
    for tool in cargo cc c++ cmake make initdb postgres chromium chromedriver; do stub "$lab/bin" "$tool" ""; done
    stub "$lab/bin" uname Linux
    stub "$lab/bin" id 1000
    # What `apt-get install` brings is a program of the package's name.
    recorder "$lab/bin" apt-get <<STUB
case " \$* " in
    *" install "*) for word in "\$@"; do case \$word in -* | install) ;; *) cp "$lab/bin/cc" "$lab/bin/\$word" ;; esac; done ;;
    *" download nats-server "*) [ -n "\$APT_CONFIG" ] && touch nats-server_2.10.27-1_all.deb ;;
esac
STUB
    recorder "$lab/bin" dpkg-deb <<STUB
mkdir -p "\$3/usr/sbin" && cp "$lab/fetched" "\$3/usr/sbin/nats-server"
STUB
    stub "$lab" fetched "nats-server: v2.10.27"
    echo 'ID=debian' >"$lab/os-release"
    nats_setting=''
    path=$lab/bin
}

nats() { stub "$1" nats-server "nats-server: v$2"; } # folder, version

when() { # mode
    status=0
    env -i HOME="$lab/home" PATH="$path" CALLFOLD_SETUP_OS_RELEASE="$lab/os-release" \
        CALLFOLD_NATS_SERVER="$nats_setting" /bin/sh "$lab/tree/scripts/setup.sh" "$@" >"$lab/output" 2>&1 || status=$?
}

wrong() {
    failures=$((failures + 1))
    printf 'setup-test: FAILED: %s: %s\n' "$fact" "$1" >&2
    sed 's/^/    output: /' "$lab/output" >&2
    sed 's/^/    called: /' "$lab/calls" >&2
}

ends_with() { [ "$status" -eq "$1" ] || wrong "exit code $status instead of $1"; }
says() { grep -qF -- "$1" "$lab/output" || wrong "does not say: $1"; }
never_says() { ! grep -qF -- "$1" "$lab/output" || wrong "says: $1"; }
called() { grep -qF -- "$1" "$lab/calls" || wrong "did not call: $1"; }
called_nothing() { [ ! -s "$lab/calls" ] || wrong "called something"; }

given "with everything there nothing is called and nothing is made"
nats "$lab/bin" 2.10.0
when run
ends_with 0; says "nats-server 2.10.0"; says "all there for"; called_nothing
[ ! -e "$lab/tree/.tools" ] || wrong "made .tools"

given "an unknown mode is bad usage"
when install
ends_with 64; says "usage:"; called_nothing

given "an old nats-server on PATH does not hide a newer one behind it"
nats "$lab/bin" 2.9.10
nats "$lab/other" 2.11.3
path=$lab/bin:$lab/other
when build
ends_with 0; says "passing over $lab/bin/nats-server: version 2.9.10"; says "nats-server 2.11.3 ($lab/other/nats-server)"
called_nothing

given "CALLFOLD_NATS_SERVER is taken before PATH"
nats "$lab/bin" 2.10.27
nats "$lab/other" 2.12.1
nats_setting=$lab/other/nats-server
when run
ends_with 0; says "nats-server 2.12.1"; never_says "2.10.27"; called_nothing

given "an old CALLFOLD_NATS_SERVER is passed over"
nats "$lab/bin" 2.10.27
nats "$lab/other" 2.9.25
nats_setting=$lab/other/nats-server
when run
ends_with 0; says "passing over $lab/other/nats-server: version 2.9.25"; says "nats-server 2.10.27"

given "a CALLFOLD_NATS_SERVER that is not there is named"
nats "$lab/bin" 2.10.27
nats_setting=$lab/nowhere
when run
ends_with 0; says "CALLFOLD_NATS_SERVER names no program: $lab/nowhere"; says "nats-server 2.10.27"

given "a program that does not say its version is passed over"
stub "$lab/bin" nats-server "command not supported"
nats "$lab/tree/.tools" 2.10.27
when run
ends_with 0; says "version unknown"; says "nats-server 2.10.27 ($lab/tree/.tools/nats-server)"; called_nothing

given "an old compiler is told how to become new"
nats "$lab/bin" 2.10.27
stub "$lab/bin" rustc "rustc 1.85.1 (4eb161250 2025-03-15)"
when build
ends_with 69; says "rustc 1.85.1 is too old, 1.94 or newer is needed"; says "rustup update stable"

given "versions are compared as numbers"
nats "$lab/bin" 2.10.27
stub "$lab/bin" rustc "rustc 1.100.0-nightly (4eb161250 2027-03-15)"
when build
ends_with 0; says "rustc 1.100.0"

given "without a compiler rustup is named"
rm "$lab/bin/rustc"
when build
ends_with 69; says "rustup.rs"

given "what building does not need is not asked for"
nats "$lab/bin" 2.10.27
rm "$lab/bin/chromedriver" "$lab/bin/chromium"
when run
ends_with 0; called_nothing

given "a plain user without sudo is told what to type, and nothing is tried"
nats "$lab/bin" 2.10.27
rm "$lab/bin/cmake" "$lab/bin/chromedriver"
when test
ends_with 69; says "missing: cmake browser"
says "apt-get install -y --no-install-recommends cmake chromium chromium-driver"; called_nothing

given "root on Debian gets what is missing and nothing else"
nats "$lab/bin" 2.10.27
rm "$lab/bin/cmake"
stub "$lab/bin" id 0
when test
ends_with 0; called "apt-get -q -q install -y --no-install-recommends cmake"; says "all there for"
! grep -qE 'g\+\+|chromium|postgres' "$lab/calls" || wrong "installed more than was missing"

given "a plain user whose sudo asks nothing gets it as well"
nats "$lab/bin" 2.10.27
rm "$lab/bin/cmake"
recorder "$lab/bin" sudo <<'STUB'
shift
case $1 in true) ;; *) exec "$@" ;; esac
STUB
when run
ends_with 0; called "sudo -n apt-get"; called "install -y --no-install-recommends cmake"

given "a sudo that would ask for a password is not used"
nats "$lab/bin" 2.10.27
rm "$lab/bin/cmake"
recorder "$lab/bin" sudo <<'STUB'
exit 1
STUB
when run
ends_with 69; says "missing: cmake"; says "apt-get install -y --no-install-recommends cmake"
! grep -q "apt-get" "$lab/calls" || wrong "tried it all the same"

given "an apt that fails leaves the command to type"
nats "$lab/bin" 2.10.27
rm "$lab/bin/cmake"
stub "$lab/bin" id 0
recorder "$lab/bin" apt-get <<'STUB'
exit 100
STUB
when run
ends_with 69; says "apt-get install ended with 100"; says "missing: cmake"; says "apt-get update && apt-get install"

# Debian's keyring is not a stub: without it (another system) there is nothing to fetch with.
if [ -r /usr/share/keyrings/debian-archive-keyring.gpg ]; then
    given "an old nats-server is replaced by one in .tools, without root, by an apt with private folders"
    nats "$lab/bin" 2.9.10
    when run
    ends_with 0; says "nats-server 2.10.27 ($lab/tree/.tools/nats-server)"; called "apt-get -q -q download nats-server"
    ! grep -q 'install' "$lab/calls" || wrong "installed something"
    [ ! -e "$lab/tree/.tools/apt" ] || wrong "left apt's folders"
    : >"$lab/calls"
    when run
    ends_with 0; says "nats-server 2.10.27"; called_nothing

    given "a server that cannot be fetched is named, with apt's own words"
    recorder "$lab/bin" apt-get <<'STUB'
echo "E: the mirror is away" >&2
exit 100
STUB
    when run
    ends_with 69; says "E: the mirror is away"; says "missing: nats"; says "nats-server 2.10 or newer"
    [ ! -e "$lab/tree/.tools/nats-server" ] || wrong "left a server"
fi

given "Fedora and its relatives are told their own names"
printf 'ID="rocky"\nID_LIKE="rhel centos fedora"\n' >"$lab/os-release"
rm "$lab/bin/c++" "$lab/bin/cmake" "$lab/bin/chromedriver"
when test
ends_with 69; says "dnf install gcc-c++ cmake chromium chromedriver    # not tried here"
says "nats-server 2.10 or newer from"; never_says "apt-get install"; called_nothing

given "Arch has a nats-server of its own"
echo 'ID=arch' >"$lab/os-release"
when run
ends_with 69; says "pacman -S --needed nats-server    # not tried here"; called_nothing

given "openSUSE is told its own names"
printf 'ID="opensuse-leap"\nID_LIKE="suse opensuse"\n' >"$lab/os-release"
rm "$lab/bin/cmake"
when run
ends_with 69; says "zypper install cmake    # not tried here"; called_nothing

given "macOS is told of Homebrew, and of Apple's compiler"
stub "$lab/bin" uname Darwin
rm "$lab/bin/c++" "$lab/bin/chromedriver"
when test
ends_with 69; says "brew install nats-server"; says "xcode-select --install"
says "brew install --cask chromium chromedriver"; called_nothing

given "a system nobody knows is given Debian's names"
echo 'ID=haiku' >"$lab/os-release"
nats "$lab/bin" 2.10.27
rm "$lab/bin/cmake"
when run
ends_with 69; says "Debian's names): cmake"; called_nothing

[ "$failures" -eq 0 ] || { echo "setup-test: $failures checks failed" >&2; exit 1; }
echo "setup-test: $cases cases passed"
