// Package bootstraptoken removes bootstrap tokens whose time is over, and signs the
// ConfigMap cluster-info, by which machines find the cluster, with each token that is for
// that: who knows the token can tell that nobody else wrote it
// (pkg/controller/bootstrap in Kubernetes).
//
// Reads: Secrets of kube-system, the ConfigMap cluster-info of kube-public.
// Writes: deletes Secrets of the type bootstrap.kubernetes.io/token; the keys
// jws-kubeconfig-* of cluster-info.
package bootstraptoken

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"skiff.dev/skiff/controllers/loop"
)

const (
	namePrefix      = "bootstrap-token-"
	keyID           = "token-id"
	keySecret       = "token-secret"
	keyExpiration   = "expiration"
	keySigning      = "usage-bootstrap-signing"
	infoName        = "cluster-info"
	infoKubeconfig  = "kubeconfig"
	signaturePrefix = "jws-kubeconfig-"
	system, public  = "kube-system", "kube-public"
)

// info is the key of cluster-info in the queue; all others are Secrets.
var info = loop.Request{NamespacedName: types.NamespacedName{Namespace: public, Name: infoName}}

// Start runs the controller until ctx ends.
func Start(ctx context.Context, env *loop.Env) error {
	l := loop.New(ctx, env, "bootstraptoken", 1, reconcile.Func(func(ctx context.Context, r loop.Request) (reconcile.Result, error) {
		if r == info {
			return reconcile.Result{}, signInfo(ctx, env)
		}
		return expire(ctx, env, r, time.Now())
	}))
	loop.On(l, &corev1.Secret{}, func(old, s *corev1.Secret) {
		if s != nil && isToken(s) {
			l.Add(loop.Key(s))
		}
		if s != nil && isToken(s) || old != nil && isToken(old) {
			l.Add(info)
		}
	})
	loop.On(l, &corev1.ConfigMap{}, func(_, cm *corev1.ConfigMap) {
		if cm != nil && cm.Namespace == public && cm.Name == infoName {
			l.Add(info)
		}
	})
	return l.Start()
}

func isToken(s *corev1.Secret) bool {
	return s.Namespace == system && s.Type == corev1.SecretTypeBootstrapToken
}

// expire deletes a token when its time is over. One whose end cannot be read is over.
func expire(ctx context.Context, env *loop.Env, r loop.Request, now time.Time) (reconcile.Result, error) {
	s := &corev1.Secret{}
	if err := env.Cache.Get(ctx, r.NamespacedName, s, crclient.UnsafeDisableDeepCopy); err != nil {
		return reconcile.Result{}, crclient.IgnoreNotFound(err)
	}
	text := string(s.Data[keyExpiration])
	if !isToken(s) || text == "" {
		return reconcile.Result{}, nil
	}
	if end, err := time.Parse(time.RFC3339, text); err == nil && now.Before(end) {
		return reconcile.Result{RequeueAfter: end.Sub(now)}, nil
	}
	err := env.Client.Delete(ctx, s, crclient.Preconditions{UID: &s.UID, ResourceVersion: &s.ResourceVersion})
	return reconcile.Result{}, crclient.IgnoreNotFound(err)
}

func signInfo(ctx context.Context, env *loop.Env) error {
	cm := &corev1.ConfigMap{}
	if err := env.Cache.Get(ctx, info.NamespacedName, cm); err != nil {
		return crclient.IgnoreNotFound(err)
	}
	var list corev1.SecretList
	if err := env.Cache.List(ctx, &list, crclient.InNamespace(system), crclient.UnsafeDisableDeepCopy); err != nil {
		return err
	}
	config, ok := cm.Data[infoKubeconfig]
	if !ok {
		return nil // nothing to sign yet
	}
	next := maps.Clone(cm.Data)
	maps.DeleteFunc(next, func(k, _ string) bool { return strings.HasPrefix(k, signaturePrefix) })
	for i := range list.Items {
		if id, secret, ok := signer(&list.Items[i], time.Now()); ok {
			sig, err := sign(config, id, secret)
			if err != nil {
				return err
			}
			next[signaturePrefix+id] = sig
		}
	}
	if maps.Equal(next, cm.Data) {
		return nil
	}
	cm.Data = next
	return crclient.IgnoreNotFound(env.Client.Update(ctx, cm))
}

// signer returns the id and the secret of a token that signs.
func signer(s *corev1.Secret, now time.Time) (id, secret string, ok bool) {
	id, secret = string(s.Data[keyID]), string(s.Data[keySecret])
	if !isToken(s) || s.DeletionTimestamp != nil || id == "" || secret == "" || s.Name != namePrefix+id || string(s.Data[keySigning]) != "true" {
		return "", "", false
	}
	if text := string(s.Data[keyExpiration]); text != "" {
		if end, err := time.Parse(time.RFC3339, text); err != nil || !now.Before(end) {
			return "", "", false
		}
	}
	return id, secret, true
}

// sign returns the JWS of content (HS256), without the content (RFC 7515, appendix F).
func sign(content, id, secret string) (string, error) {
	b64 := base64.RawURLEncoding
	head, err := json.Marshal(struct {
		Alg string `json:"alg"`
		KID string `json:"kid"`
	}{"HS256", id})
	if err != nil {
		return "", err
	}
	first := b64.EncodeToString(head)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(first + "." + b64.EncodeToString([]byte(content))))
	return first + ".." + b64.EncodeToString(mac.Sum(nil)), nil
}
