package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	authv1 "k8s.io/api/authentication/v1"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TokenSource issues service account tokens that are bound to a pod.
type TokenSource interface {
	Token(ctx context.Context, namespace, serviceAccount string, tr *authv1.TokenRequest) (*authv1.TokenRequest, error)
}

// ClientTokens is a TokenSource over the API.
type ClientTokens struct{ Client client.Client }

// Token posts the request to the service account's token subresource.
func (c ClientTokens) Token(ctx context.Context, namespace, name string, tr *authv1.TokenRequest) (*authv1.TokenRequest, error) {
	sa := &v1.ServiceAccount{}
	sa.Namespace, sa.Name = namespace, name
	return tr, c.Client.SubResource("token").Create(ctx, sa, tr)
}

// token is one that was issued.
type token struct {
	value           string
	issued, expires time.Time
}

// stale tells that a token has used up four fifths of its life, or a day, as the
// kubelet's rule is (docs/tasks/configure-pod-container/configure-service-account).
func (t token) stale(now time.Time) bool { return !now.Before(t.renewAt()) }

func (t token) renewAt() time.Time {
	at := t.issued.Add(t.expires.Sub(t.issued) * 4 / 5)
	if day := t.issued.Add(24 * time.Hour); day.Before(at) {
		at = day
	}
	return at
}

// mountProjected writes several sources into one directory; where paths collide
// the later source wins.
// https://kubernetes.io/docs/concepts/storage/projected-volumes/
func mountProjected(ctx context.Context, v *Volumes, r *request) (Mount, error) {
	s := r.vol.Projected
	m := mode(s.DefaultMode)
	p := payload{}
	for i := range s.Sources {
		src := &s.Sources[i]
		var err error
		switch {
		case src.ConfigMap != nil:
			err = v.addConfigMap(ctx, p, r.pod.Namespace, src.ConfigMap.Name, src.ConfigMap.Items, m, src.ConfigMap.Optional)
		case src.Secret != nil:
			err = v.addSecret(ctx, p, r.pod.Namespace, src.Secret.Name, src.Secret.Items, m, src.Secret.Optional)
		case src.DownwardAPI != nil:
			err = v.addDownward(p, r.pod, src.DownwardAPI.Items, m)
		case src.ServiceAccountToken != nil:
			err = v.addToken(ctx, p, r, src.ServiceAccountToken, m)
		case src.ClusterTrustBundle != nil:
			err = errors.New("ClusterTrustBundle projection is not supported by this node")
		default:
			err = fmt.Errorf("source %d of projected volume %q is not known to this node", i, r.vol.Name)
		}
		if err != nil {
			return Mount{}, err
		}
	}
	return v.write(r, p, true)
}

func (v *Volumes) addToken(ctx context.Context, p payload, r *request, s *v1.ServiceAccountTokenProjection, mode int32) error {
	pod := r.pod
	seconds := int64(3600)
	if s.ExpirationSeconds != nil {
		seconds = *s.ExpirationSeconds
	}
	key := fmt.Sprintf("%s/%s/%d", pod.Spec.ServiceAccountName, s.Audience, seconds)
	t, ok := r.state.tokens[key]
	if now := time.Now(); !ok || t.stale(now) {
		if v.o.Tokens == nil {
			return errors.New("this node has no source of service account tokens")
		}
		tr := &authv1.TokenRequest{Spec: authv1.TokenRequestSpec{
			ExpirationSeconds: &seconds,
			BoundObjectRef:    &authv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID},
		}}
		if s.Audience != "" {
			tr.Spec.Audiences = []string{s.Audience}
		}
		got, err := v.o.Tokens.Token(ctx, pod.Namespace, pod.Spec.ServiceAccountName, tr)
		switch {
		case err == nil:
			t = token{value: got.Status.Token, issued: now, expires: got.Status.ExpirationTimestamp.Time}
			if t.expires.IsZero() {
				t.expires = now.Add(time.Duration(seconds) * time.Second)
			}
			r.state.tokens[key] = t
		case ok && now.Before(t.expires):
			// The old one still holds; the next renewal tries again.
			t.issued = now
			r.state.tokens[key] = t
		default:
			return fmt.Errorf("failed to fetch token: %w", err)
		}
	}
	f := file{data: []byte(t.value), mode: tokenMode(pod, mode)}
	if f.uid = soleUser(pod); f.uid != nil && fsGroup(pod) == nil {
		f.mode = 0o600
	}
	p[s.Path] = f
	return nil
}

// tokenMode keeps tokens from users of the machine: readable by the pod's group
// where it has one, else as the volume says.
func tokenMode(pod *v1.Pod, mode int32) os.FileMode {
	if fsGroup(pod) != nil {
		return 0o600
	}
	return os.FileMode(mode)
}

// soleUser is the user that all containers run as, where that is certain.
func soleUser(pod *v1.Pod) *int64 {
	var all *int64
	if sc := pod.Spec.SecurityContext; sc != nil {
		all = sc.RunAsUser
	}
	var sole *int64
	for _, list := range [][]v1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			u := all
			if sc := list[i].SecurityContext; sc != nil && sc.RunAsUser != nil {
				u = sc.RunAsUser
			}
			if u == nil || sole != nil && *sole != *u {
				return nil
			}
			sole = u
		}
	}
	return sole
}

// planRenewal asks for the pod's volumes to be mounted again when the first of its
// tokens is stale. st.mu is held.
func (v *Volumes) planRenewal(uid types.UID, st *podState) {
	if st.renew != nil {
		st.renew.Stop()
		st.renew = nil
	}
	if v.o.Refresh == nil || len(st.tokens) == 0 {
		return
	}
	var at time.Time
	for _, t := range st.tokens {
		if r := t.renewAt(); at.IsZero() || r.Before(at) {
			at = r
		}
	}
	st.renew = time.AfterFunc(max(time.Until(at), time.Second), func() { v.o.Refresh(uid) })
}
