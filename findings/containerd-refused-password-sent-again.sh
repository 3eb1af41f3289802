#!/usr/bin/env bash
# containerd 2.4.2 (github.com/containerd/containerd/v2/core/remotes/docker): a wrong password is sent up to four
# times for one image.
#
# Behaviour: on a registry that asks for Basic authentication, one Resolve sends the same refused user name and
# password four times, and then fails. On a registry with a token server, the same password is refused twice: first
# in the form of a POST, then in the Authorization header of a GET. Version 2.2.0 sent it five times to the Basic
# registry.
#
# Why it surprises: a 401 to a request with credentials is the registry's answer, not a transient error, and a client
# has nothing else to try. For Bearer challenges the authorizer compares with the previous request, and gives up when
# the same one was refused. For Basic challenges it takes the same credentials from the callback again and reports that
# a retry is worthwhile, so that only the limit of attempts for a request ends the loop (retryRequest, AddResponses).
#
# What it means for users of regcred: the number of failed logins at a registry is not the number of pods that start.
# A registry, or the directory behind it, that locks an account after five failed logins is locked by the second
# attempt of one pod with a stale password, and the kubelet makes three attempts in the first minute. A stale pull
# secret next to a good one costs the same at every pull, since the kubelet tries both. Keep the old password valid
# until every namespace has the new one, and exempt the pull account from such a lock or raise its limit.
#
# Output seen:
#   Basic: HEAD without credentials 1, HEAD with the refused password 4
#   Bearer: HEAD without credentials 1, POST token with the refused password 1, GET token with the refused password 1
#
# Run: findings/containerd-refused-password-sent-again.sh (needs go and a Go module proxy; half a minute of CPU time)
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

cat > go.mod <<'EOF'
module probe

go 1.26

require github.com/containerd/containerd/v2 v2.4.2
EOF

cat > main.go <<'EOF'
package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"

	"github.com/containerd/containerd/v2/core/remotes/docker"
)

// resolve asks a registry that refuses every login for an image, and prints the requests that arrived.
func resolve(scheme string) {
	var order []string
	counts := map[string]int{}
	var registry *httptest.Server
	registry = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		request := r.Method
		if r.URL.Path == "/token" {
			request += " token"
		}
		_, inHeader, _ := r.BasicAuth()
		if inHeader == "stale" || r.FormValue("password") == "stale" {
			request += " with the refused password"
		} else {
			request += " without credentials"
		}
		if counts[request]++; counts[request] == 1 {
			order = append(order, request)
		}
		if r.URL.Path != "/token" {
			challenge := `Basic realm="registry"`
			if scheme == "Bearer" {
				challenge = `Bearer realm="` + registry.URL + `/token",service="registry"`
			}
			w.Header().Set("WWW-Authenticate", challenge)
		}
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer registry.Close()

	authorizer := docker.NewDockerAuthorizer(docker.WithAuthCreds(func(string) (string, string, error) {
		return "ci", "stale", nil
	}))
	resolver := docker.NewResolver(docker.ResolverOptions{
		Hosts: docker.ConfigureDefaultRegistries(
			docker.WithAuthorizer(authorizer), docker.WithPlainHTTP(docker.MatchLocalhost)),
	})
	host := strings.TrimPrefix(registry.URL, "http://")
	if _, _, err := resolver.Resolve(context.Background(), host+"/team/app:1"); err == nil {
		fmt.Println("the pull succeeded: the test is wrong")
		os.Exit(1)
	}
	for i, request := range order {
		order[i] = fmt.Sprint(request, " ", counts[request])
	}
	fmt.Printf("%s: %s\n", scheme, strings.Join(order, ", "))
}

func main() {
	resolve("Basic")
	resolve("Bearer")
}
EOF

go mod tidy -modcacherw 2> install.log || { cat install.log >&2; exit 1; }
seen=$(go run . 2> run.log) || { cat run.log >&2; exit 1; }
printf '%s\n' "$seen"
expected='Basic: HEAD without credentials 1, HEAD with the refused password 4
Bearer: HEAD without credentials 1, POST token with the refused password 1, GET token with the refused password 1'
if [ "$seen" != "$expected" ]; then
  echo "changed: expected" >&2
  printf '%s\n' "$expected" >&2
  exit 1
fi
echo "as described"
