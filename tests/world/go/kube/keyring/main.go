// Command keyring answers, with the kubelet's own code, which credentials the
// kubelet would try for an image given one pull secret.
//
// In: a JSON list of questions on stdin. Out: a JSON list of answers on stdout,
// one for each question, in the same order.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubernetes/pkg/credentialprovider"
	"k8s.io/kubernetes/pkg/credentialprovider/secrets"
)

// question is one pull secret and the image that a container asks for.
type question struct {
	Namespace        string `json:"namespace"`
	Name             string `json:"name"`
	Type             string `json:"type"`
	DockerConfigJSON []byte `json:"dockerconfigjson"`
	Image            string `json:"image"`
}

// credential is one pair that the kubelet would try, in its order, with the
// hash by which it recognises the pair in its records of pulled images.
type credential struct {
	Username string `json:"username"`
	Password string `json:"password"`
	Hash     string `json:"hash"`
}

// answer holds either the credentials or the kubelet's error.
type answer struct {
	Credentials []credential `json:"credentials"`
	Error       string       `json:"error,omitempty"`
}

func ask(q question) answer {
	found := answer{Credentials: []credential{}}
	secret := v1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: q.Namespace, Name: q.Name},
		Type:       v1.SecretType(q.Type),
		Data:       map[string][]byte{v1.DockerConfigJsonKey: q.DockerConfigJSON},
	}
	// An empty default keyring stands for a node without credentials of its own.
	keyring, err := secrets.MakeDockerKeyring([]v1.Secret{secret}, &credentialprovider.BasicDockerKeyring{})
	if err != nil {
		found.Error = err.Error()
		return found
	}
	configs, _ := keyring.Lookup(q.Image)
	for _, config := range configs {
		found.Credentials = append(found.Credentials, credential{config.Username, config.Password, config.AuthConfigHash})
	}
	return found
}

func main() {
	var questions []question
	if err := json.NewDecoder(os.Stdin).Decode(&questions); err != nil {
		fmt.Fprintln(os.Stderr, "keyring: stdin is not a JSON list of questions:", err)
		os.Exit(1)
	}
	answers := make([]answer, 0, len(questions))
	for _, q := range questions {
		answers = append(answers, ask(q))
	}
	if err := json.NewEncoder(os.Stdout).Encode(answers); err != nil {
		fmt.Fprintln(os.Stderr, "keyring: stdout could not be written:", err)
		os.Exit(1)
	}
}
