package admit

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/rand"

	"skiff.dev/skiff/apiserver/admission"
)

const (
	tokenMountPath   = "/var/run/secrets/kubernetes.io/serviceaccount"
	tokenVolume      = "kube-api-access-"
	tokenExpiration  = 60*60 + 7
	enforceMountable = "kubernetes.io/enforce-mountable-secrets"
	// A namespace's default account is made by a controller, a moment after the
	// namespace: creators of pods are made to wait that long for it.
	defaultAccountWait = time.Second
	defaultAccountPoll = 10 * time.Millisecond
)

// ServiceAccount gives every pod a service account, the account's pull secrets,
// and a volume with its token.
type ServiceAccount struct{ reader }

// Name implements admission.Plugin.
func (*ServiceAccount) Name() string { return "ServiceAccount" }

func isMirror(p *v1.Pod) bool {
	_, is := p.Annotations[v1.MirrorPodAnnotationKey]
	return is
}

// Admit implements admission.Mutator.
func (s *ServiceAccount) Admit(ctx context.Context, r *admission.Request) error {
	p, ok := r.Object.(*v1.Pod)
	if !ok || !is(r, "", "pods", admission.Create) || isMirror(p) {
		return nil
	}
	if p.Spec.ServiceAccountName == "" {
		p.Spec.ServiceAccountName = "default"
	}
	sa, err := s.account(ctx, r.Namespace, p.Spec.ServiceAccountName)
	if err != nil {
		return forbid(r, err)
	}
	if automount(sa, p) {
		mountToken(p)
	}
	if len(p.Spec.ImagePullSecrets) == 0 {
		for _, ref := range sa.ImagePullSecrets {
			p.Spec.ImagePullSecrets = append(p.Spec.ImagePullSecrets, v1.LocalObjectReference{Name: ref.Name})
		}
	}
	// The old field follows the new one, as it does after Kubernetes' conversion.
	p.Spec.DeprecatedServiceAccount = p.Spec.ServiceAccountName
	return nil
}

// account finds a service account.
func (s *ServiceAccount) account(ctx context.Context, namespace, name string) (*v1.ServiceAccount, error) {
	for end := time.Now().Add(defaultAccountWait); ; {
		if sa, ok := find[*v1.ServiceAccount](s, serviceAccounts, namespace, name); ok {
			return sa, nil
		}
		if name != "default" || time.Now().After(end) {
			return nil, fmt.Errorf("error looking up service account %s/%s: %w", namespace, name, apierrors.NewNotFound(v1.Resource("serviceaccount"), name))
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(defaultAccountPoll):
		}
	}
}

func automount(sa *v1.ServiceAccount, p *v1.Pod) bool {
	if p.Spec.AutomountServiceAccountToken != nil {
		return *p.Spec.AutomountServiceAccountToken
	}
	return sa.AutomountServiceAccountToken == nil || *sa.AutomountServiceAccountToken
}

// mountToken mounts the token volume into every container that has nothing there.
func mountToken(p *v1.Pod) {
	name, has := "", false
	for i := range p.Spec.Volumes {
		if strings.HasPrefix(p.Spec.Volumes[i].Name, tokenVolume) {
			name, has = p.Spec.Volumes[i].Name, true
			break
		}
	}
	if name == "" {
		name = tokenVolume + rand.String(5)
	}
	needs := false
	mount := func(list []v1.Container) {
	next:
		for i := range list {
			for _, m := range list[i].VolumeMounts {
				if m.MountPath == tokenMountPath {
					continue next
				}
			}
			list[i].VolumeMounts = append(list[i].VolumeMounts, v1.VolumeMount{Name: name, ReadOnly: true, MountPath: tokenMountPath})
			needs = true
		}
	}
	mount(p.Spec.InitContainers)
	mount(p.Spec.Containers)
	if needs && !has {
		p.Spec.Volumes = append(p.Spec.Volumes, v1.Volume{Name: name, VolumeSource: v1.VolumeSource{Projected: tokenSource()}})
	}
}

func tokenSource() *v1.ProjectedVolumeSource {
	mode, expiration := v1.ProjectedVolumeSourceDefaultMode, int64(tokenExpiration)
	return &v1.ProjectedVolumeSource{DefaultMode: &mode, Sources: []v1.VolumeProjection{
		{ServiceAccountToken: &v1.ServiceAccountTokenProjection{Path: "token", ExpirationSeconds: &expiration}},
		{ConfigMap: &v1.ConfigMapProjection{LocalObjectReference: v1.LocalObjectReference{Name: "kube-root-ca.crt"},
			Items: []v1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}}}},
		{DownwardAPI: &v1.DownwardAPIProjection{Items: []v1.DownwardAPIVolumeFile{
			{Path: "namespace", FieldRef: &v1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.namespace"}}}}},
	}}
}

// Validate implements admission.Validator.
func (s *ServiceAccount) Validate(ctx context.Context, r *admission.Request) error {
	p, ok := r.Object.(*v1.Pod)
	if !ok {
		return nil
	}
	ephemeral := r.Operation == admission.Update && r.Subresource == "ephemeralcontainers"
	if !ephemeral && !is(r, "", "pods", admission.Create) {
		return nil
	}
	if !ephemeral && isMirror(p) {
		if err := mirrorRefers(p); err != nil {
			return forbid(r, err)
		}
		return nil
	}
	if p.Spec.ServiceAccountName == "" {
		return forbid(r, fmt.Errorf("no service account specified for pod %s/%s", r.Namespace, p.Name))
	}
	sa, err := s.account(ctx, r.Namespace, p.Spec.ServiceAccountName)
	if err != nil {
		return forbid(r, err)
	}
	if enforce, _ := strconv.ParseBool(sa.Annotations[enforceMountable]); !enforce {
		return nil
	}
	if err := mountable(sa, p, ephemeral); err != nil {
		return forbid(r, err)
	}
	return nil
}

// mirrorRefers refuses what a pod that a node made for itself may not name.
func mirrorRefers(p *v1.Pod) error {
	if p.Spec.ServiceAccountName != "" {
		return errors.New("a mirror pod may not reference service accounts")
	}
	for i := range p.Spec.Volumes {
		v := &p.Spec.Volumes[i]
		if v.Secret != nil {
			return errors.New("a mirror pod may not reference secrets")
		}
		if v.Projected == nil {
			continue
		}
		for _, src := range v.Projected.Sources {
			if src.Secret != nil {
				return errors.New("a mirror pod may not reference secrets")
			}
			if src.ServiceAccountToken != nil {
				return errors.New("a mirror pod may not use ServiceAccountToken volume projections")
			}
		}
	}
	if len(p.Spec.ImagePullSecrets) > 0 || eachSecret(p, func(string, string, string) error { return errors.New("secret") }) != nil {
		return errors.New("a mirror pod may not reference secrets")
	}
	return nil
}

// eachSecret calls f with the secrets of the containers' environments: what kind of
// container, which place in it, the secret's name.
func eachSecret(p *v1.Pod, f func(container, place, secret string) error) error {
	one := func(kind, name string, env []v1.EnvVar, from []v1.EnvFromSource) error {
		for i := range env {
			if s := env[i].ValueFrom; s != nil && s.SecretKeyRef != nil {
				if err := f(kind+" "+name, "envVar "+env[i].Name, s.SecretKeyRef.Name); err != nil {
					return err
				}
			}
		}
		for i := range from {
			if s := from[i].SecretRef; s != nil {
				if err := f(kind+" "+name, "envFrom", s.Name); err != nil {
					return err
				}
			}
		}
		return nil
	}
	for i := range p.Spec.InitContainers {
		c := &p.Spec.InitContainers[i]
		if err := one("init container", c.Name, c.Env, c.EnvFrom); err != nil {
			return err
		}
	}
	for i := range p.Spec.Containers {
		c := &p.Spec.Containers[i]
		if err := one("container", c.Name, c.Env, c.EnvFrom); err != nil {
			return err
		}
	}
	for i := range p.Spec.EphemeralContainers {
		c := &p.Spec.EphemeralContainers[i]
		if err := one("ephemeral container", c.Name, c.Env, c.EnvFrom); err != nil {
			return err
		}
	}
	return nil
}

// mountable refuses secrets that the account does not list, where the account asks
// for that.
func mountable(sa *v1.ServiceAccount, p *v1.Pod, ephemeral bool) error {
	secrets, pull := map[string]bool{}, map[string]bool{}
	for _, s := range sa.Secrets {
		secrets[s.Name] = true
	}
	for _, s := range sa.ImagePullSecrets {
		pull[s.Name] = true
	}
	for i := 0; !ephemeral && i < len(p.Spec.Volumes); i++ {
		if s := p.Spec.Volumes[i].Secret; s != nil && !secrets[s.SecretName] {
			return fmt.Errorf("volume with secret.secretName=%q is not allowed because service account %s does not reference that secret", s.SecretName, sa.Name)
		}
	}
	err := eachSecret(p, func(container, place, name string) error {
		if secrets[name] || ephemeral != strings.HasPrefix(container, "ephemeral ") {
			return nil
		}
		return fmt.Errorf("%s with %s referencing secret.secretName=%q is not allowed because service account %s does not reference that secret", container, place, name, sa.Name)
	})
	if err != nil || ephemeral {
		return err
	}
	for i, ref := range p.Spec.ImagePullSecrets {
		if !pull[ref.Name] {
			return fmt.Errorf("imagePullSecrets[%d].name=%q is not allowed because service account %s does not reference that imagePullSecret", i, ref.Name, sa.Name)
		}
	}
	return nil
}
