#!/usr/bin/env bash
# kubelet 1.37.2 (k8s.io/kubernetes/pkg/kubelet/images/pullmanager): after a rotation, an image that 100 namespaces of
# a node have used is pulled again although it is there.
#
# Behaviour: with KubeletEnsureSecretPulledImages (on by default) the kubelet lets a pod use an image of the node if
# it knows the pod's pull secret: the same credential, or the same Secret with a new credential. The second rule holds
# only while the record of the image lists fewer than 100 Secrets. From 100 on, the first pod after a rotation must
# reach the registry, also with imagePullPolicy IfNotPresent.
#
# Why it surprises: the limit reads, and is commented, as one of what is written, so that the record does not grow
# with every namespace. In MustAttemptImagePull the answer "known" stands inside the same condition for a Secret whose
# credential changed, and outside of it for an equal credential: where the record is full, the kubelet does not only
# skip the write, it denies the Secret that stands in the record. Secrets of namespaces that no longer exist count,
# since nothing removes them, so 100 short-lived preview namespaces are enough.
#
# What it means for users of regcred: regcred changes pull secrets in place, so that a rotation works with cached
# images while the registry is down or limits requests. For a base image or sidecar that 100 namespaces have used on a
# node, that protection is gone: after a rotation the first pod of the image on each node asks the registry. If the
# registry is down it fails with ErrImagePull; if it answers once, every other namespace matches the new credential
# again. While the previous credential is in the pod's pull secrets as well, nothing is asked. Rotate while the
# registry answers, and not during an incident.
#
# Output seen:
#   99 namespaces, no rotation: must pull false
#   99 namespaces, rotated in place: must pull false
#   100 namespaces, no rotation: must pull false
#   100 namespaces, rotated in place: must pull true
#   100 namespaces, rotated in place, previous credential kept as well: must pull false
#   100 namespaces, after one pull with the new credential, another namespace: must pull false
#
# Run: findings/kubelet-pull-record-full-at-100.sh (needs go and a Go module proxy; the first run compiles for about
# four minutes of CPU time)
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
kubernetes=v1.37.2 staging=v0.37.2

cat > main.go <<'EOF'
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/kubelet/apis/config"
	"k8s.io/kubernetes/pkg/kubelet/images/pullmanager"
)

const (
	image    = "registry.test/base:1"
	imageRef = "sha256:0e5574283393f3c9d3a9fe6eb3a5d6b8d4b1a8a0c1b3c0e3f4b1a1c2d3e4f506"
)

// secret is the pull secret of a namespace. A rotation in place changes its credential and nothing else.
func secret(namespace int, credential string) config.ImagePullSecret {
	return config.ImagePullSecret{
		UID:            fmt.Sprintf("uid-%d", namespace),
		Namespace:      fmt.Sprintf("preview-%d", namespace),
		Name:           "regcred",
		CredentialHash: credential,
	}
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// node is a node on which this many namespaces have used the image with one credential.
func node(folder string, namespaces int) *pullmanager.PullManager {
	ctx := context.Background()
	records, err := pullmanager.NewFSPullRecordsAccessor(klog.Background(), folder)
	check(err)
	policy, err := pullmanager.NewImagePullCredentialVerificationPolicy(config.NeverVerifyPreloadedImages, nil)
	check(err)
	manager, err := pullmanager.NewImagePullManager(ctx, records, policy, nil, 16)
	check(err)
	pull(manager, secret(1, "old"))
	for n := 2; n <= namespaces; n++ {
		if mustPull(manager, secret(n, "old")) {
			panic("an equal credential must be accepted")
		}
	}
	return manager
}

func pull(manager *pullmanager.PullManager, by config.ImagePullSecret) {
	check(manager.RecordPullIntent(klog.Background(), image))
	manager.RecordImagePulled(context.Background(), image, imageRef,
		&config.ImagePullCredentials{KubernetesSecrets: []config.ImagePullSecret{by}})
}

func mustPull(manager *pullmanager.PullManager, secrets ...config.ImagePullSecret) bool {
	must, err := manager.MustAttemptImagePull(context.Background(), image, imageRef,
		func() ([]config.ImagePullSecret, *config.ImagePullServiceAccount, error) { return secrets, nil, nil })
	check(err)
	return must
}

func main() {
	made := 0
	fresh := func(namespaces int) *pullmanager.PullManager {
		made++
		return node(filepath.Join(os.Args[1], fmt.Sprint(made)), namespaces)
	}
	for _, namespaces := range []int{99, 100} {
		fmt.Printf("%d namespaces, no rotation: must pull %v\n", namespaces,
			mustPull(fresh(namespaces), secret(1, "old")))
		fmt.Printf("%d namespaces, rotated in place: must pull %v\n", namespaces,
			mustPull(fresh(namespaces), secret(1, "new")))
	}
	fmt.Printf("100 namespaces, rotated in place, previous credential kept as well: must pull %v\n",
		mustPull(fresh(100), secret(1, "new"), secret(1, "old")))
	pulled := fresh(100)
	pull(pulled, secret(1, "new"))
	fmt.Printf("100 namespaces, after one pull with the new credential, another namespace: must pull %v\n",
		mustPull(pulled, secret(2, "new")))
}
EOF

# The modules of the Kubernetes repository have no version of their own in its go.mod.
go mod init probe 2> /dev/null
folder=$(go mod download -modcacherw -json "k8s.io/kubernetes@$kubernetes" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
for module in $(sed -n 's/^\t\(k8s\.io\/[a-z-]*\) v0\.0\.0\( .*\)\{0,1\}$/\1/p' "$folder/go.mod" | sort -u); do
  go mod edit -replace "$module=$module@$staging"
done
go mod edit -require "k8s.io/kubernetes@$kubernetes"
go mod tidy -modcacherw 2> install.log || { cat install.log >&2; exit 1; }
seen=$(go run . "$work/kubelet" 2> run.log) || { cat run.log >&2; exit 1; }
printf '%s\n' "$seen"
expected='99 namespaces, no rotation: must pull false
99 namespaces, rotated in place: must pull false
100 namespaces, no rotation: must pull false
100 namespaces, rotated in place: must pull true
100 namespaces, rotated in place, previous credential kept as well: must pull false
100 namespaces, after one pull with the new credential, another namespace: must pull false'
if [ "$seen" != "$expected" ]; then
  echo "changed: expected" >&2
  printf '%s\n' "$expected" >&2
  exit 1
fi
echo "as described"
