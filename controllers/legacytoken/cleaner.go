// Package legacytoken retires the tokens that service accounts of old were given in
// Secrets without being asked: what has not been used for a year is marked invalid, and
// deleted after another (legacytokentracking and LegacySATokenCleaner in Kubernetes).
// Since when use is noted, by the authenticator, a ConfigMap says.
//
// Reads: Secrets, ServiceAccounts, Pods.
// Writes: the ConfigMap kube-system/kube-apiserver-legacy-service-account-token-tracking;
// the label legacy-token-invalid-since of Secrets; deletes them.
package legacytoken

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"skiff.dev/skiff/controllers/loop"
)

const (
	trackingName = "kube-apiserver-legacy-service-account-token-tracking"
	trackingKey  = "since"

	labelLastUsed     = "kubernetes.io/legacy-token-last-used"
	labelInvalidSince = "kubernetes.io/legacy-token-invalid-since"

	period = 365 * 24 * time.Hour
	round  = 24 * time.Hour
)

// Start runs the controller until ctx ends.
func Start(ctx context.Context, env *loop.Env) error {
	c := &controller{env: env}
	tracking := loop.New(ctx, env, "legacytokentracking", 1, reconcile.Func(func(ctx context.Context, _ loop.Request) (reconcile.Result, error) {
		return reconcile.Result{}, c.track(ctx)
	}))
	it := loop.Request{NamespacedName: types.NamespacedName{Namespace: metav1.NamespaceSystem, Name: trackingName}}
	cleaner := loop.New(ctx, env, "legacytoken", 1, reconcile.Func(func(ctx context.Context, _ loop.Request) (reconcile.Result, error) {
		return reconcile.Result{RequeueAfter: round}, c.clean(ctx, time.Now().UTC())
	}))
	loop.On(tracking, &corev1.ConfigMap{}, func(old, m *corev1.ConfigMap) {
		if m == nil {
			m = old
		}
		if loop.Key(m) == it {
			tracking.Add(it)
		}
	})
	// The cleaner works by the clock; it is only begun when these are known.
	loop.On(cleaner, &corev1.Secret{}, func(_, _ *corev1.Secret) {})
	loop.On(cleaner, &corev1.ServiceAccount{}, func(_, _ *corev1.ServiceAccount) {})
	loop.On(cleaner, &corev1.Pod{}, func(_, _ *corev1.Pod) {})
	tracking.Add(it)
	cleaner.Add(it)
	if err := tracking.Start(); err != nil {
		return err
	}
	return cleaner.Start()
}

type controller struct{ env *loop.Env }

// track keeps the day since which the use of tokens is noted.
func (c *controller) track(ctx context.Context) error {
	m := &corev1.ConfigMap{}
	today := time.Now().UTC().Format(time.DateOnly)
	err := c.env.Client.Get(ctx, types.NamespacedName{Namespace: metav1.NamespaceSystem, Name: trackingName}, m)
	switch {
	case apierrors.IsNotFound(err):
		m.Namespace, m.Name = metav1.NamespaceSystem, trackingName
		m.Data = map[string]string{trackingKey: today}
		if err = c.env.Client.Create(ctx, m); apierrors.IsAlreadyExists(err) {
			err = nil
		}
		return err
	case err != nil:
		return err
	}
	if _, err := time.Parse(time.DateOnly, m.Data[trackingKey]); err == nil {
		return nil
	}
	if m.Data == nil {
		m.Data = map[string]string{}
	}
	m.Data[trackingKey] = today
	return crclient.IgnoreNotFound(c.env.Client.Update(ctx, m))
}

// since is the first moment from which all use has been noted.
func (c *controller) since(ctx context.Context) (time.Time, error) {
	m := &corev1.ConfigMap{}
	if err := c.env.Client.Get(ctx, types.NamespacedName{Namespace: metav1.NamespaceSystem, Name: trackingName}, m); err != nil {
		return time.Time{}, err
	}
	day, err := time.Parse(time.DateOnly, m.Data[trackingKey])
	return day.AddDate(0, 0, 1), err
}

func (c *controller) clean(ctx context.Context, now time.Time) error {
	since, err := c.since(ctx)
	if apierrors.IsNotFound(err) {
		return nil // it begins to be noted now
	}
	if err != nil || now.Before(since.Add(period)) {
		return err
	}
	var secrets corev1.SecretList
	if err := c.env.Cache.List(ctx, &secrets, crclient.UnsafeDisableDeepCopy); err != nil {
		return err
	}
	mounted := map[string]map[string]bool{}
	var errs []error
	for i := range secrets.Items {
		s := &secrets.Items[i]
		if s.Type != corev1.SecretTypeServiceAccountToken || !unused(s, now) {
			continue
		}
		made, err := c.generated(ctx, s)
		if err == nil && made {
			err = c.retire(ctx, s, mounted, now)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// unused tells whether a token is older than the period and was not used in it.
func unused(s *corev1.Secret, now time.Time) bool {
	if s.DeletionTimestamp != nil || !s.CreationTimestamp.Time.Before(now.Add(-period)) {
		return false
	}
	last, ok := s.Labels[labelLastUsed]
	if !ok {
		return true
	}
	day, err := time.Parse(time.DateOnly, last)
	return err == nil && day.Format(time.DateOnly) < bound(now)
}

func bound(now time.Time) string { return now.Add(-period).Format(time.DateOnly) }

// generated tells whether a Secret was made for its account, and not by a person: the
// account names it.
func (c *controller) generated(ctx context.Context, s *corev1.Secret) (bool, error) {
	name := s.Annotations[corev1.ServiceAccountNameKey]
	if name == "" {
		return false, nil
	}
	sa := &corev1.ServiceAccount{}
	if err := c.env.Cache.Get(ctx, types.NamespacedName{Namespace: s.Namespace, Name: name}, sa); err != nil {
		return false, crclient.IgnoreNotFound(err)
	}
	if uid := s.Annotations[corev1.ServiceAccountUIDKey]; uid != "" && uid != string(sa.UID) {
		return false, nil
	}
	for _, ref := range sa.Secrets {
		if ref.Name == s.Name {
			return true, nil
		}
	}
	return false, nil
}

// retire marks a token that nobody uses, or deletes it when it has been marked for long.
func (c *controller) retire(ctx context.Context, s *corev1.Secret, mounted map[string]map[string]bool, now time.Time) error {
	used, ok := mounted[s.Namespace]
	if !ok {
		used = map[string]bool{}
		mounted[s.Namespace] = used
		var pods corev1.PodList
		if err := c.env.Cache.List(ctx, &pods, crclient.InNamespace(s.Namespace), crclient.UnsafeDisableDeepCopy); err != nil {
			return err
		}
		for i := range pods.Items {
			secretsOf(&pods.Items[i], func(name string) { used[name] = true })
		}
	}
	if used[s.Name] {
		return nil
	}
	marked := s.Labels[labelInvalidSince]
	if _, err := time.Parse(time.DateOnly, marked); err != nil {
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": s.UID, "labels": map[string]string{labelInvalidSince: now.Format(time.DateOnly)}}})
		if err != nil {
			return err
		}
		return crclient.IgnoreNotFound(c.env.Client.Patch(ctx, s.DeepCopy(), crclient.RawPatch(types.MergePatchType, patch)))
	}
	if marked >= bound(now) {
		return nil
	}
	err := c.env.Client.Delete(ctx, s.DeepCopy(), crclient.Preconditions{ResourceVersion: &s.ResourceVersion})
	if apierrors.IsConflict(err) {
		return nil // used or changed just now: the next round looks again
	}
	return crclient.IgnoreNotFound(err)
}
