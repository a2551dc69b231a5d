//lint:file-ignore SA1019 what is deprecated is served still

package core

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/rules"
)

func endpoints() *kinds.Kind {
	k := newKind[v1.Endpoints, v1.EndpointsList]("endpoints", true, "ep")
	k.Name = rules.DNSSubdomain
	k.Served[0].Deprecated = "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"
	k.AllowCreateOnUpdate = true
	k.Default = rules.Do(defaultEndpoints)
	k.Validate = rules.Check(validateEndpoints)
	k.ValidateUpdate = rules.Check2(validateEndpointsUpdate)
	k.Warnings = rules.Warn(func(ep, _ *v1.Endpoints) []string { return endpointsWarnings(ep) })
	k.Columns = []metav1.TableColumnDefinition{
		rules.NameColumn(),
		rules.Column("Endpoints", v1.Endpoints{}.SwaggerDoc()["subsets"]),
		rules.AgeColumn(),
	}
	k.Cells = rules.Cells(func(ep *v1.Endpoints, now time.Time) []any {
		return []any{ep.Name, endpointsCell(ep), rules.Age(ep.CreationTimestamp, now)}
	})
	return k
}

func defaultEndpoints(ep *v1.Endpoints) {
	for i := range ep.Subsets {
		ports := ep.Subsets[i].Ports
		for j := range ports {
			if ports[j].Protocol == "" {
				ports[j].Protocol = v1.ProtocolTCP
			}
		}
	}
}

// endpointsWarnings tells of addresses that are not in their usual form. The
// endpoints controller's own objects are known to be right.
func endpointsWarnings(ep *v1.Endpoints) []string {
	if ep.Labels["endpoints.kubernetes.io/managed-by"] == "endpoint-controller" {
		return nil
	}
	var out []string
	check := func(path *field.Path, addresses []v1.EndpointAddress) {
		for i := range addresses {
			out = append(out, validation.GetWarningsForIP(path.Index(i).Child("ip"), addresses[i].IP)...)
		}
	}
	for i := range ep.Subsets {
		path := field.NewPath("subsets").Index(i)
		check(path.Child("addresses"), ep.Subsets[i].Addresses)
		check(path.Child("notReadyAddresses"), ep.Subsets[i].NotReadyAddresses)
	}
	return out
}

// endpointsCell lists the first three endpoints and counts the others.
func endpointsCell(ep *v1.Endpoints) string {
	if len(ep.Subsets) == 0 {
		return "<none>"
	}
	const shown = 3
	var list []string
	count := 0
	add := func(addresses []v1.EndpointAddress, format func(ip string) string) {
		count += len(addresses)
		for i := 0; i < len(addresses) && len(list) < shown; i++ {
			list = append(list, format(addresses[i].IP))
		}
	}
	for i := range ep.Subsets {
		s := &ep.Subsets[i]
		if len(s.Ports) == 0 {
			add(s.Addresses, func(ip string) string { return ip })
		}
		for j := range s.Ports {
			port := strconv.Itoa(int(s.Ports[j].Port))
			add(s.Addresses, func(ip string) string { return net.JoinHostPort(ip, port) })
		}
	}
	cell := strings.Join(list, ",")
	if count > shown {
		return fmt.Sprintf("%s + %d more...", cell, count-shown)
	}
	return cell
}
