#!/usr/bin/env bash
# go-containerregistry 0.22.1 (pkg/v1/remote): a Puller never reads the docker config again.
#
# Behaviour: remote.Head with authn.DefaultKeychain reads the docker config at every call. A remote.Puller with the
# same option reads it once for each repository, and sends the old password for as long as the Puller lives, also
# after the registry has answered 401. remote.Head with remote.Reuse(puller) does the same.
#
# Why it surprises: both take the same keychain, and a keychain is a function that looks a credential up, not a
# credential. Reuse is documented as a saving of requests, and Head without it picks a rotation up at once. The
# Puller keeps the reader of a repository, and with it a transport into which the resolved password was built;
# nothing discards that reader when a request fails.
#
# What it means for users of regcred: a program in a pod that mounts the pull secret as its docker config, and pulls
# through a long-lived Puller (an updater, a mirror, a scanner as a service), stays on the old password after the
# file has changed, and fails from the moment it is revoked until it is restarted. One-shot tools such as crane are
# not affected. The remedy is authn.RefreshingKeychain, or a new Puller after a 401; restarting the pod also works.
#
# Output seen:
#   before the rotation, Puller: sent old, ok
#   before the rotation, Head: sent old, ok
#   after the rotation, Puller: sent old, failed
#   after the rotation, Puller, second try: sent old, failed
#   after the rotation, Head that reuses the Puller: sent old, failed
#   after the rotation, Head: sent new, ok
#   after the rotation, Puller with a RefreshingKeychain from before: sent new, ok
#
# Run: findings/go-containerregistry-puller-keeps-password.sh (needs go and a Go module proxy; seconds)
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

cat > go.mod <<'EOF'
module probe

go 1.26

require github.com/google/go-containerregistry v0.22.1
EOF

cat > main.go <<'EOF'
package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	folder := os.Args[1]
	check(os.Setenv("DOCKER_CONFIG", folder))
	accepted, sent := "old", "nothing"
	images := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, password, ok := r.BasicAuth()
		if ok {
			sent = password
		}
		if password != accepted {
			w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		images.ServeHTTP(w, r)
	}))
	host := strings.TrimPrefix(server.URL, "http://")

	rotate := func(password string) {
		accepted = password
		auth := base64.StdEncoding.EncodeToString([]byte("ci:" + password))
		file := filepath.Join(folder, "config.json")
		check(os.WriteFile(file+".new", []byte(`{"auths":{"`+host+`":{"auth":"`+auth+`"}}}`), 0o600))
		check(os.Rename(file+".new", file))
	}
	rotate("old")
	image, err := name.ParseReference(host + "/team/app:1")
	check(err)
	content, err := random.Image(8, 1)
	check(err)
	keychain := remote.WithAuthFromKeychain(authn.DefaultKeychain)
	check(remote.Write(image, content, keychain))

	puller, err := remote.NewPuller(keychain)
	check(err)
	fresh, err := remote.NewPuller(
		remote.WithAuthFromKeychain(authn.RefreshingKeychain(authn.DefaultKeychain, time.Millisecond)))
	check(err)
	head := func(what string, call func() error) {
		sent = "nothing"
		outcome := "ok"
		if call() != nil {
			outcome = "failed"
		}
		fmt.Printf("%s: sent %s, %s\n", what, sent, outcome)
	}
	byPuller := func() error { _, err := puller.Head(context.Background(), image); return err }
	byFresh := func() error { _, err := fresh.Head(context.Background(), image); return err }
	byHead := func() error { _, err := remote.Head(image, keychain); return err }
	byReuse := func() error { _, err := remote.Head(image, remote.Reuse(puller)); return err }

	check(byFresh())
	head("before the rotation, Puller", byPuller)
	head("before the rotation, Head", byHead)
	rotate("new")
	time.Sleep(10 * time.Millisecond)
	head("after the rotation, Puller", byPuller)
	head("after the rotation, Puller, second try", byPuller)
	head("after the rotation, Head that reuses the Puller", byReuse)
	head("after the rotation, Head", byHead)
	head("after the rotation, Puller with a RefreshingKeychain from before", byFresh)
}
EOF

mkdir docker
go mod tidy -modcacherw 2> install.log || { cat install.log >&2; exit 1; }
seen=$(go run . "$work/docker" 2> run.log) || { cat run.log >&2; exit 1; }
printf '%s\n' "$seen"
expected='before the rotation, Puller: sent old, ok
before the rotation, Head: sent old, ok
after the rotation, Puller: sent old, failed
after the rotation, Puller, second try: sent old, failed
after the rotation, Head that reuses the Puller: sent old, failed
after the rotation, Head: sent new, ok
after the rotation, Puller with a RefreshingKeychain from before: sent new, ok'
if [ "$seen" != "$expected" ]; then
  echo "changed: expected" >&2
  printf '%s\n' "$expected" >&2
  exit 1
fi
echo "as described"
