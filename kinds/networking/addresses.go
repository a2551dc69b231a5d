package networking

import (
	"strings"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/row"
	"skiff.dev/skiff/kinds/rules"
)

func ipAddress() *kinds.Kind {
	return row.Fill[networkingv1.IPAddress, networkingv1.IPAddressList](networkingv1.SchemeGroupVersion, &kinds.Kind{
		Resource: "ipaddresses", ShortNames: []string{"ip"},
		Name:           canonicalIP,
		Validate:       rules.Check(validateIPAddress),
		ValidateUpdate: rules.Check2(validateIPAddressUpdate),
		Columns: []metav1.TableColumnDefinition{
			rules.NameColumn(),
			rules.Column("ParentRef", networkingv1.IPAddressSpec{}.SwaggerDoc()["parentRef"]),
		},
		Cells: rules.Cells(ipAddressCells),
	})
}

// ipAddressCells have one cell more than there are columns, as Kubernetes' do.
func ipAddressCells(a *networkingv1.IPAddress, now time.Time) []any {
	parent := "<none>"
	if p := a.Spec.ParentRef; p != nil {
		parent = strings.ToLower(schema.GroupResource{Group: p.Group, Resource: p.Resource}.String())
		if p.Namespace != "" {
			parent += "/" + p.Namespace
		}
		parent += "/" + p.Name
	}
	return []any{a.Name, parent, rules.Age(a.CreationTimestamp, now)}
}

func serviceCIDR() *kinds.Kind {
	type T = *networkingv1.ServiceCIDR
	return row.Fill[networkingv1.ServiceCIDR, networkingv1.ServiceCIDRList](networkingv1.SchemeGroupVersion, &kinds.Kind{
		Resource:       "servicecidrs",
		Name:           rules.DNSSubdomain,
		PrepareCreate:  rules.Do(func(c T) { c.Status = networkingv1.ServiceCIDRStatus{} }),
		PrepareUpdate:  rules.Do2(func(c, old T) { c.Status = old.Status }),
		Validate:       rules.Check(validateServiceCIDR),
		ValidateUpdate: rules.Check2(validateServiceCIDRUpdate),
		Subresources: row.WithStatus(func(c, old T) {
			c.Spec = old.Spec
			row.ResetMeta(c, old)
		}, nil, "metadata", "spec"),
		Columns: []metav1.TableColumnDefinition{
			rules.NameColumn(),
			rules.Column("CIDRs", networkingv1.ServiceCIDRSpec{}.SwaggerDoc()["cidrs"]),
			rules.AgeColumn(),
		},
		Cells: rules.Cells(func(c T, now time.Time) []any {
			return []any{c.Name, strings.Join(c.Spec.CIDRs, ","), rules.Age(c.CreationTimestamp, now)}
		}),
	})
}
