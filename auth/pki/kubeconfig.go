package pki

import (
	"fmt"

	clientcmdv1 "k8s.io/client-go/tools/clientcmd/api/v1"
	"sigs.k8s.io/yaml"
)

// Kubeconfig returns a kubeconfig with one cluster, one user and one context.
func (m *Material) Kubeconfig(user string, p *Pair) ([]byte, error) {
	const cluster = "kubernetes"
	context := user + "@" + cluster
	b, err := yaml.Marshal(&clientcmdv1.Config{
		Kind: "Config", APIVersion: "v1",
		Clusters: []clientcmdv1.NamedCluster{{Name: cluster, Cluster: clientcmdv1.Cluster{
			Server: m.options.Server, CertificateAuthorityData: m.CA.PEM}}},
		AuthInfos: []clientcmdv1.NamedAuthInfo{{Name: user, AuthInfo: clientcmdv1.AuthInfo{
			ClientCertificateData: p.CertPEM, ClientKeyData: p.KeyPEM}}},
		Contexts: []clientcmdv1.NamedContext{{Name: context, Context: clientcmdv1.Context{
			Cluster: cluster, AuthInfo: user}}},
		CurrentContext: context,
	})
	if err != nil {
		return nil, fmt.Errorf("pki: kubeconfig of %s: %w", user, err)
	}
	return b, nil
}

// WriteKubeconfig writes Kubeconfig to path unless it holds just that.
func (m *Material) WriteKubeconfig(path, user string, p *Pair) error {
	want, err := m.Kubeconfig(user, p)
	if err != nil {
		return err
	}
	have, err := read(path)
	if err != nil {
		return err
	}
	if string(have) == string(want) {
		return nil
	}
	return WriteFile(path, want)
}
