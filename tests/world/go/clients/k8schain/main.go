// Command k8schain requests the manifest of an image with the credentials that
// k8schain's library finds in a docker config, taken as a pull secret.
//
// In: the path of the docker config and an image. Out: the digest of the image.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/google/go-containerregistry/pkg/authn/kubernetes"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	corev1 "k8s.io/api/core/v1"
)

func digest(path, image string) (string, error) {
	config, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	keychain, err := kubernetes.NewFromPullSecrets(context.Background(), []corev1.Secret{{
		Type: corev1.SecretTypeDockerConfigJson,
		Data: map[string][]byte{corev1.DockerConfigJsonKey: config},
	}})
	if err != nil {
		return "", err
	}
	reference, err := name.ParseReference(image)
	if err != nil {
		return "", err
	}
	found, err := remote.Head(reference, remote.WithAuthFromKeychain(keychain))
	if err != nil {
		return "", err
	}
	return found.Digest.String(), nil
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: k8schain FILE IMAGE")
		os.Exit(2)
	}
	digest, err := digest(os.Args[1], os.Args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, "k8schain:", err)
		os.Exit(1)
	}
	fmt.Println(digest)
}
