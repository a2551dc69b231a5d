package custom

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/apiserver/callout"
	"skiff.dev/skiff/kinds/dynamic"
)

const (
	// convertTimeout bounds one conversion (apiserver/pkg/util/webhook, the
	// client's timeout).
	convertTimeout = 30 * time.Second
	// convertLimit bounds the answer; an object may have 3 MB.
	convertLimit = 16 << 20
)

// webhook converts by asking a server that the definition names
// (pkg/apiserver/conversion, webhook_converter.go).
type webhook struct {
	d       *Definition
	hooks   *callout.Clients
	target  callout.Target
	reviews []string // versions of ConversionReview that the server knows
}

func newWebhook(d *Definition, w *apiextensionsv1.WebhookConversion, hooks *callout.Clients) *webhook {
	cc := w.ClientConfig
	out := &webhook{d: d, hooks: hooks, reviews: w.ConversionReviewVersions}
	if len(bytes.TrimSpace(cc.CABundle)) > 0 {
		out.target.CABundle = cc.CABundle
	}
	if cc.URL != nil {
		out.target.URL = *cc.URL
	}
	if s := cc.Service; s != nil {
		out.target.Service = &callout.Service{Namespace: s.Namespace, Name: s.Name}
		if s.Port != nil {
			out.target.Service.Port = *s.Port
		}
		if s.Path != nil {
			out.target.Path = *s.Path
		}
	}
	return out
}

// review is a ConversionReview of either version: they have the same fields.
type review struct {
	metav1.TypeMeta `json:",inline"`
	Request         *reviewRequest  `json:"request,omitempty"`
	Response        *reviewResponse `json:"response,omitempty"`
}

type reviewRequest struct {
	UID               types.UID         `json:"uid"`
	DesiredAPIVersion string            `json:"desiredAPIVersion"`
	Objects           []json.RawMessage `json:"objects"`
}

type reviewResponse struct {
	UID              types.UID         `json:"uid"`
	ConvertedObjects []json.RawMessage `json:"convertedObjects"`
	Result           metav1.Status     `json:"result"`
}

func (w *webhook) convert(o *dynamic.Object, version string) (*dynamic.Object, error) {
	from := schema.GroupVersionKind{Group: w.d.group, Version: o.Version, Kind: w.d.accepted.Kind}
	out, err := w.ask(o, from, version)
	if err != nil {
		return nil, fmt.Errorf("conversion webhook for %v %w", from, err)
	}
	return out, nil
}

func (w *webhook) ask(o *dynamic.Object, from schema.GroupVersionKind, version string) (*dynamic.Object, error) {
	in := *o
	in.SetGroupVersionKind(from)
	raw, err := json.Marshal(&in)
	if err != nil {
		return nil, fmt.Errorf("failed: %w", err)
	}
	i := slices.IndexFunc(w.reviews, func(v string) bool { return v == "v1" || v == "v1beta1" })
	if i < 0 {
		return nil, errors.New("failed: no supported conversion review versions")
	}
	group := apiextensionsv1.GroupName + "/" + w.reviews[i]
	uid := uuid.NewUUID()
	sent := review{TypeMeta: metav1.TypeMeta{Kind: "ConversionReview", APIVersion: group},
		Request: &reviewRequest{UID: uid, DesiredAPIVersion: w.d.group + "/" + version, Objects: []json.RawMessage{raw}}}
	got, err := w.post(&sent)
	if err != nil {
		return nil, fmt.Errorf("failed: %w", err)
	}
	if w.reviews[i] == "v1" {
		if got.Kind != "ConversionReview" || got.APIVersion != group {
			return nil, fmt.Errorf("failed: expected webhook response of %v, got %v",
				apiextensionsv1.SchemeGroupVersion.WithKind("ConversionReview"), got.GroupVersionKind())
		}
		if got.Response != nil && got.Response.UID != uid {
			return nil, fmt.Errorf("failed: expected response.uid=%q, got %q", uid, got.Response.UID)
		}
	}
	r := got.Response
	switch {
	case r == nil:
		return nil, errors.New("failed: no response provided")
	case r.Result.Status != metav1.StatusSuccess && r.Result.Message != "":
		return nil, fmt.Errorf("failed: %s", r.Result.Message)
	case r.Result.Status != metav1.StatusSuccess:
		return nil, fmt.Errorf("failed: response.result.status was '%s', not 'Success'", r.Result.Status)
	case len(r.ConvertedObjects) != 1:
		return nil, fmt.Errorf("returned %d objects, expected 1", len(r.ConvertedObjects))
	}
	out := &dynamic.Object{}
	if err := json.Unmarshal(r.ConvertedObjects[0], out); err != nil {
		return nil, fmt.Errorf("returned invalid object: %w", err)
	}
	return w.accept(o, out, from, version)
}

// post sends the review and reads the answer.
func (w *webhook) post(sent *review) (*review, error) {
	body, err := json.Marshal(sent)
	if err != nil {
		return nil, err
	}
	if w.hooks == nil {
		return nil, errors.New("this server calls no webhooks")
	}
	client, u, err := w.hooks.Client(w.target)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), convertTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String()+"?timeout="+convertTimeout.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, */*")
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	answer, err := callout.ReadLimited(res.Body, convertLimit)
	if err != nil {
		return nil, err
	}
	if res.StatusCode < 200 || res.StatusCode > 206 {
		return nil, fmt.Errorf("the server answered %s", res.Status)
	}
	got := &review{}
	if err := json.Unmarshal(answer, got); err != nil {
		return nil, err
	}
	return got, nil
}

// accept checks that the webhook answered with the same object, and keeps its
// metadata but for labels and annotations.
func (w *webhook) accept(in, out *dynamic.Object, from schema.GroupVersionKind, version string) (*dynamic.Object, error) {
	want := schema.GroupVersion{Group: w.d.group, Version: version}
	have := out.GroupVersionKind()
	if have.GroupVersion() != want {
		return nil, fmt.Errorf("returned invalid object at index 0: invalid groupVersion (expected %v, received %v)", want, have.GroupVersion())
	}
	if have.Kind != from.Kind {
		return nil, fmt.Errorf("returned invalid object at index 0: invalid kind (expected %v, received %v)", from.Kind, have.Kind)
	}
	for _, c := range []struct{ what, in, out string }{
		{"name", in.Name, out.Name}, {"namespace", in.Namespace, out.Namespace}, {"UID", string(in.UID), string(out.UID)},
	} {
		if c.in != c.out {
			return nil, fmt.Errorf("returned invalid object: must have the same %s: %v != %v", c.what, c.in, c.out)
		}
	}
	labels, annotations := out.Labels, out.Annotations
	var errs field.ErrorList
	if !maps.Equal(labels, in.Labels) {
		errs = metav1validation.ValidateLabels(labels, field.NewPath("metadata", "labels"))
	}
	if !maps.Equal(annotations, in.Annotations) {
		errs = append(errs, validation.ValidateAnnotations(annotations, field.NewPath("metadata", "annotation"))...)
	}
	if len(errs) > 0 {
		return nil, fmt.Errorf("returned invalid metadata: %w", errs.ToAggregate())
	}
	out.ObjectMeta = *in.ObjectMeta.DeepCopy()
	out.Labels, out.Annotations = labels, annotations
	out.TypeMeta = metav1.TypeMeta{}
	out.Version = version
	return out, nil
}
