// Package serviceaccounttoken fills the Secrets that ask for the token of a service
// account, and removes those whose account is gone (pkg/controller/serviceaccount,
// TokensController, in Kubernetes).
//
// Reads: Secrets, ServiceAccounts.
// Writes: the data and the account's uid of Secrets of the type
// kubernetes.io/service-account-token; deletes them.
package serviceaccounttoken

import (
	"bytes"
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"skiff.dev/skiff/controllers/loop"
)

// byAccount finds the Secrets of a service account.
const byAccount = "serviceaccounttoken.account"

// Start runs the controller until ctx ends; without a signer it does nothing.
func Start(ctx context.Context, env *loop.Env) error {
	if env.Config.AccountToken == nil {
		return nil
	}
	l := loop.New(ctx, env, "serviceaccounttoken", 2, reconcile.Func(func(ctx context.Context, r loop.Request) (reconcile.Result, error) {
		return reconcile.Result{}, fill(ctx, env, r)
	}))
	l.Index(&corev1.Secret{}, byAccount, func(o crclient.Object) []string {
		if s := o.(*corev1.Secret); s.Type == corev1.SecretTypeServiceAccountToken {
			return []string{s.Annotations[corev1.ServiceAccountNameKey]}
		}
		return nil
	})
	loop.On(l, &corev1.Secret{}, func(_, s *corev1.Secret) {
		if s != nil && s.Type == corev1.SecretTypeServiceAccountToken {
			l.Add(loop.Key(s))
		}
	})
	loop.On(l, &corev1.ServiceAccount{}, func(old, sa *corev1.ServiceAccount) {
		gone := sa == nil
		if gone {
			sa = old
		} else if old != nil {
			return // its name and uid are as they were
		}
		var list corev1.SecretList
		if err := env.Cache.List(ctx, &list, crclient.InNamespace(sa.Namespace), crclient.MatchingFields{byAccount: sa.Name}, crclient.UnsafeDisableDeepCopy); err != nil {
			if ctx.Err() == nil {
				env.Log.Error("find the secrets of a service account", "account", sa.Namespace+"/"+sa.Name, "err", err)
			}
			return
		}
		for i := range list.Items {
			l.Add(loop.Key(&list.Items[i]))
		}
	})
	return l.Start()
}

func fill(ctx context.Context, env *loop.Env, r loop.Request) error {
	s := &corev1.Secret{}
	if err := env.Cache.Get(ctx, r.NamespacedName, s); err != nil {
		return crclient.IgnoreNotFound(err)
	}
	if s.Type != corev1.SecretTypeServiceAccountToken || s.DeletionTimestamp != nil {
		return nil
	}
	// Asked of the server, not of the cache: an account that was made just now must not
	// cost its Secret.
	var sa corev1.ServiceAccount
	err := env.Client.Get(ctx, types.NamespacedName{Namespace: s.Namespace, Name: s.Annotations[corev1.ServiceAccountNameKey]}, &sa)
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	if uid := s.Annotations[corev1.ServiceAccountUIDKey]; err != nil || uid != "" && uid != string(sa.UID) {
		err := env.Client.Delete(ctx, s, crclient.Preconditions{UID: &s.UID})
		return crclient.IgnoreNotFound(err)
	}
	changed, err := complete(s, &sa, env.Config)
	if err != nil || !changed {
		return err
	}
	return crclient.IgnoreNotFound(env.Client.Update(ctx, s))
}

// complete puts into s what is missing.
func complete(s *corev1.Secret, sa *corev1.ServiceAccount, c loop.Config) (changed bool, err error) {
	if s.Data == nil {
		s.Data = map[string][]byte{}
	}
	set := func(k string, v []byte) {
		if !bytes.Equal(s.Data[k], v) {
			s.Data[k], changed = v, true
		}
	}
	if len(c.RootCA) > 0 {
		set(corev1.ServiceAccountRootCAKey, c.RootCA)
	}
	if len(s.Data[corev1.ServiceAccountNamespaceKey]) == 0 {
		set(corev1.ServiceAccountNamespaceKey, []byte(s.Namespace))
	}
	if len(s.Data[corev1.ServiceAccountTokenKey]) == 0 {
		t, err := c.AccountToken(s.Namespace, sa.Name, string(sa.UID), s.Name)
		if err != nil {
			return false, fmt.Errorf("error generating token: %w", err)
		}
		set(corev1.ServiceAccountTokenKey, []byte(t))
	}
	if s.Annotations[corev1.ServiceAccountUIDKey] != string(sa.UID) {
		s.Annotations[corev1.ServiceAccountUIDKey], changed = string(sa.UID), true
	}
	return changed, nil
}
