package webhook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	admissionv1beta1 "k8s.io/api/admission/v1beta1"
	admissionregv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/rest"

	"skiff.dev/skiff/apiserver/intercept/match"
)

// maxAnswer is how large a webhook's answer may be: the largest object several times
// over.
const maxAnswer = 16 << 20

// callTime is how long a call may take where nothing else says so.
const callTime = 30 * time.Second

// callError says that a webhook could not be asked, or gave no answer that can be
// used. The webhook's failurePolicy decides what it means.
type callError struct {
	webhook string
	reason  error
	status  *apierrors.StatusError // of the call, for metrics
}

func (e *callError) Error() string {
	return fmt.Sprintf("failed calling webhook %q: %v", e.webhook, e.reason)
}

func (e *callError) Unwrap() error { return e.reason }

// rejection is a webhook's no.
type rejection struct{ status *apierrors.StatusError }

func (e *rejection) Error() string { return e.status.Error() }

// dryRunRefused is the refusal of a dry run that the webhook cannot take part in; nil
// where it can.
func (h *hook) dryRunRefused() error {
	switch {
	case h.effects == nil:
		const text = "Webhook SideEffects is nil" // in the words of Kubernetes
		//lint:ignore ST1005 the text is Kubernetes'
		return &callError{h.name, errors.New(text), apierrors.NewBadRequest(text)}
	case *h.effects != admissionregv1.SideEffectClassNone && *h.effects != admissionregv1.SideEffectClassNoneOnDryRun:
		return apierrors.NewBadRequest(fmt.Sprintf("admission webhook %q does not support dry run", h.name))
	}
	return nil
}

// call asks the webhook. An error is a *callError, a *rejection, or a refusal that no
// failurePolicy softens.
func (p *Plugins) call(ctx context.Context, h *hook, a *match.Attributes, found match.Found, raw rawObjects, mutating bool) (*answer, error) {
	if a.IsDryRun() {
		if err := h.dryRunRefused(); err != nil {
			return nil, err
		}
	}
	q, err := ask(h, a, found, raw)
	if err != nil {
		return nil, &callError{h.name, fmt.Errorf("could not create admission objects: %w", err), apierrors.NewBadRequest("error creating admission objects")}
	}
	if err := p.exchange(ctx, h, &q); err != nil {
		return nil, err
	}
	out, err := q.read(mutating)
	if err != nil {
		return nil, &callError{h.name, fmt.Errorf("received invalid webhook response: %w", err), apierrors.NewServiceUnavailable("error validating webhook response")}
	}
	return out, nil
}

// exchange sends the question and reads the reply. client-go's requests give errors
// the words that Kubernetes' users know.
func (p *Plugins) exchange(ctx context.Context, h *hook, q *question) error {
	client, u, err := p.o.Clients.Client(h.target)
	var r *rest.Request
	if err == nil {
		r, err = newRequest(client, u)
	}
	if err != nil {
		return &callError{h.name, fmt.Errorf("could not get REST client: %w", err), apierrors.NewInternalError(err)}
	}
	if h.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, h.timeout)
		defer cancel()
	}
	r = r.Verb(http.MethodPost).SetHeader("User-Agent", "kube-apiserver-admission").WarningHandlerWithContext(rest.NoWarnings{}).Body(q.review)
	if deadline, ok := ctx.Deadline(); ok {
		if left := time.Until(deadline); left > 0 {
			r.Timeout(wholeSeconds(left))
		}
	}
	if err := r.Do(ctx).Into(q.reply); err != nil {
		status, ok := err.(*apierrors.StatusError)
		if !ok {
			status = apierrors.NewServiceUnavailable("error calling webhook")
		}
		return &callError{h.name, fmt.Errorf("failed to call webhook: %w", err), status}
	}
	return nil
}

// wholeSeconds rounds up.
func wholeSeconds(d time.Duration) time.Duration {
	if whole := d.Truncate(time.Second); whole != d {
		return whole + time.Second
	}
	return d
}

// content is how reviews are written and read.
var content = sync.OnceValue(func() rest.ClientContentConfig {
	scheme := runtime.NewScheme()
	utilruntime.Must(admissionv1beta1.AddToScheme(scheme))
	utilruntime.Must(admissionv1.AddToScheme(scheme))
	codec := serializer.NewCodecFactory(scheme).LegacyCodec(admissionv1beta1.SchemeGroupVersion, admissionv1.SchemeGroupVersion)
	ns := serializer.NegotiatedSerializerWrapper(runtime.SerializerInfo{Serializer: codec})
	return rest.ClientContentConfig{
		ContentType: runtime.ContentTypeJSON, GroupVersion: metav1.SchemeGroupVersion,
		Negotiator: runtime.NewClientNegotiator(ns, metav1.SchemeGroupVersion),
	}
})

func newRequest(client *http.Client, u *url.URL) (*rest.Request, error) {
	bounded := &http.Client{Transport: bound{client.Transport}, CheckRedirect: client.CheckRedirect, Timeout: callTime}
	c, err := rest.NewRESTClient(&url.URL{Scheme: u.Scheme, Host: u.Host}, u.Path, content(), nil, bounded)
	if err != nil {
		return nil, err
	}
	return rest.NewRequest(c), nil
}

// bound limits the answers of a transport.
type bound struct{ http.RoundTripper }

func (b bound) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.RoundTripper.RoundTrip(r)
	if err == nil {
		resp.Body = &boundBody{ReadCloser: resp.Body, left: maxAnswer}
	}
	return resp, err
}

type boundBody struct {
	io.ReadCloser
	left int
}

func (b *boundBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		// One byte more tells whether the answer ends here.
		var one [1]byte
		n, err := b.ReadCloser.Read(one[:])
		if n > 0 {
			return 0, fmt.Errorf("the answer has more than %d bytes", maxAnswer)
		}
		return 0, err
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}
