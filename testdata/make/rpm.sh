#!/bin/bash
# rpm/: the same packages in all three formats of rpm's database, before and after an update, and what rpm says of them.
# Tools: rpm and rpmbuild; sqlite3; db5.3_load (rpm reads Berkeley DB only); RPM_NDB: an rpm built with --enable-ndb, which
# Debian's is not.
. "$(dirname "$0")/lib.sh"
RPM_NDB=${RPM_NDB:?an rpm that was built with --enable-ndb}

build() { # build NAME: with the specification on standard input
  cat >"$T/$1.spec"
  rpmbuild --quiet -bb --define "_topdir $T" --define '_buildhost host' --define 'use_source_date_epoch_as_buildtime 1' \
    "$T/$1.spec"
}

shelf() { # shelf VERSION RELEASE EMPTY-VERSION: files, a link, directories, a ghost; a package without files
  build shelf <<END
Name: shelf
Epoch: 2
Version: $1
Release: $2
Summary: A shelf
License: MIT and BSD
BuildArch: noarch
%description
A shelf.
%install
mkdir -p %{buildroot}/usr/share/shelf/board
echo $1 > %{buildroot}/usr/share/shelf/label
echo board > %{buildroot}/usr/share/shelf/board/oak
ln -s label %{buildroot}/usr/share/shelf/link
%files
/usr/share/shelf
%ghost /var/log/shelf.log
%package -n shelf-empty
Version: $3
Summary: Installs nothing
%description -n shelf-empty
Nothing.
%files -n shelf-empty
END
}

single() { # single NAME VERSION
  build "$1" <<END
Name: $1
Version: $2
Release: 1
Summary: A $1
License: GPL-2.0-or-later
BuildArch: noarch
%description
A $1.
%install
mkdir -p %{buildroot}/opt/$1
seq 100 > "%{buildroot}/opt/$1/a file of $1"
%files
/opt/$1
END
}

step() { # step RPM OPTION FORMAT OPTION...
  "$1" "$2" --define "_db_backend $3" --define '_dbpath /var/lib/rpm' --root "$T/$3" --nodeps --noscripts "${@:4}" \
    2>"$T/errors" || { cat "$T/errors"; return 1; }
}

both() { # both OPTION...: the same step in both of the formats that rpm writes
  step rpm --force-debian sqlite "$@" && step "$RPM_NDB" --nodeps ndb "$@"
}

keep() { # keep NAME: the databases as they are now
  local to=$OUT/rpm/$1
  mkdir -p "$to"
  "$RPM_NDB" --define '_db_backend ndb' --dbpath "$T/ndb/var/lib/rpm" -qa --qf \
    '%{NAME}\t%|EPOCH?{%{EPOCH}:}|%{VERSION}-%{RELEASE}\t%{ARCH}\t%{SOURCERPM}\t%{LICENSE}\t[%{FILENAMES}|]\n' |
    sort >"$to/rpm-qa.txt"
  {
    printf 'VERSION=3\nformat=bytevalue\ntype=hash\ndb_pagesize=4096\nHEADER=END\n 00000000\n 09000000\n'
    sqlite3 "$T/sqlite/var/lib/rpm/rpmdb.sqlite" \
      "SELECT printf(' %02x000000' || char(10) || ' %s', hnum, lower(hex(blob))) FROM Packages"
    printf 'DATA=END\n'
  } >"$T/dump"
  rm -f "$T/Packages"
  db5.3_load -f "$T/dump" "$T/Packages"
  xz -9 --stdout "$T/Packages" >"$to/Packages.xz"
  xz -9 --stdout "$T/ndb/var/lib/rpm/Packages.db" >"$to/Packages.db.xz"
  xz -9 --stdout "$T/sqlite/var/lib/rpm/rpmdb.sqlite" >"$to/rpmdb.sqlite.xz"
}

shelf 1.2 3 4~rc1
single lamp 1.0
single chair 0.9
both -U "$T"/RPMS/noarch/*.rpm
keep before
rm -r "$T/RPMS"
shelf 1.10 1 4
single stool 3
both -U "$T"/RPMS/noarch/*.rpm
both -e chair
keep after
