// Walks the provider's own Go SDK through a sub account's life at the sandbox: what an official client sends and
// expects must fit what the sandbox answers. Prints one line for each step, ends with 1 at the first that differs.
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"

	ahasend "github.com/AhaSend/ahasend-go"
	"github.com/AhaSend/ahasend-go/api"
	"github.com/AhaSend/ahasend-go/models/common"
	"github.com/AhaSend/ahasend-go/models/requests"
	"github.com/google/uuid"
)

var steps int

func must(what string, err error, fits bool, saw any) {
	steps++
	if err != nil {
		fmt.Printf("FAIL %s: %v\n", what, err)
		os.Exit(1)
	}
	if !fits {
		fmt.Printf("FAIL %s: saw %+v\n", what, saw)
		os.Exit(1)
	}
	fmt.Printf("ok   %s\n", what)
}

func replayed(response *http.Response) bool {
	return response != nil && response.Header.Get("Idempotent-Replayed") == "true"
}

func main() {
	key, parent := os.Getenv("AHASEND_API_KEY"), uuid.MustParse(os.Getenv("AHASEND_ACCOUNT_ID"))
	client := api.NewAPIClientWithConfig(api.NewConfigurationFromEnv())
	ctx := context.WithValue(context.Background(), api.ContextAccessToken, key)

	_, _, err := client.UtilityAPI.Ping(ctx)
	must("ping", err, true, nil)

	// sub accounts
	wanted := requests.CreateSubAccountRequest{Name: "Northwind Oy", Website: "northwind.test", MonthlyCredit: ahasend.Int64(250000)}
	child, _, err := client.SubAccountsAPI.CreateSubAccount(ctx, parent, wanted, api.WithIdempotencyKey("sdk-create"))
	must("create", err, child != nil && child.Status == "active" && child.MonthlyCredit == 250000 && child.ParentAccountID == parent, child)
	again, answer, err := client.SubAccountsAPI.CreateSubAccount(ctx, parent, wanted, api.WithIdempotencyKey("sdk-create"))
	must("create again is a replay", err, again.ID == child.ID && replayed(answer), again)
	for _, name := range []string{"Globex", "Initech", "Umbrella"} {
		more := requests.CreateSubAccountRequest{Name: name, Website: "shop.example.com"}
		_, _, err = client.SubAccountsAPI.CreateSubAccount(ctx, parent, more)
		must("create "+name, err, true, nil)
	}
	seen, cursor := map[uuid.UUID]bool{}, (*string)(nil)
	for {
		page, _, err := client.SubAccountsAPI.ListSubAccounts(ctx, parent, &common.PaginationParams{Limit: ahasend.Int32(3), After: cursor})
		must("list a page", err, len(page.Data) > 0, page)
		for _, one := range page.Data {
			seen[one.ID] = true
		}
		if !page.Pagination.HasMore {
			break
		}
		cursor = page.Pagination.NextCursor
	}
	must("list reaches its end", nil, len(seen) == 4 && seen[child.ID], seen)
	read, _, err := client.SubAccountsAPI.GetSubAccount(ctx, parent, child.ID)
	must("read", err, read.Name == "Northwind Oy" && read.Website == "northwind.test", read)
	changed, _, err := client.SubAccountsAPI.UpdateSubAccount(ctx, parent, child.ID, requests.UpdateSubAccountRequest{MonthlyCredit: ahasend.Int64(0)})
	must("update the cap alone", err, changed.MonthlyCredit == 0 && changed.Name == "Northwind Oy", changed)
	_, _, err = client.SubAccountsAPI.UpdateSubAccount(ctx, parent, child.ID, requests.UpdateSubAccountRequest{MonthlyCredit: ahasend.Int64(0)})
	must("an update that changes nothing is refused", nil, err != nil, err)
	stopped, _, err := client.SubAccountsAPI.SuspendSubAccount(ctx, parent, child.ID, requests.SuspendSubAccountRequest{Reason: "Two complaints, case 3318"})
	must("suspend", err, stopped.Status == "suspended", stopped)
	started, _, err := client.SubAccountsAPI.UnsuspendSubAccount(ctx, parent, child.ID)
	must("unsuspend", err, started.Status == "active", started)

	// keys
	bootstrap := requests.CreateAPIKeyRequest{
		Label: "portal bootstrap", Scopes: []string{"messages:send:all", "domains:read", "domains:write"},
		IPAllowList: []string{"127.0.0.1", "198.51.100.77/24"},
	}
	made, _, err := client.SubAccountsAPI.CreateSubAccountAPIKey(ctx, parent, child.ID, bootstrap, api.WithIdempotencyKey("sdk-key"))
	must("create a key", err, made.SecretKey != nil && len(made.IPAllowList) == 2 && made.IPAllowList[1] == "198.51.100.0/24", made)
	twice, answer, err := client.SubAccountsAPI.CreateSubAccountAPIKey(ctx, parent, child.ID, bootstrap, api.WithIdempotencyKey("sdk-key"))
	must("the same key again is a replay with its secret", err, twice.ID == made.ID && twice.SecretKey != nil && *twice.SecretKey == *made.SecretKey && replayed(answer), twice)
	keys, _, err := client.SubAccountsAPI.ListSubAccountAPIKeys(ctx, parent, child.ID, nil)
	must("list keys without a secret", err, len(keys.Data) == 1 && keys.Data[0].SecretKey == nil, keys)
	renamed, _, err := client.SubAccountsAPI.UpdateSubAccountAPIKey(ctx, parent, child.ID, made.ID, requests.UpdateAPIKeyRequest{Label: ahasend.String("portal")})
	must("rename a key", err, renamed.Label == "portal" && len(renamed.IPAllowList) == 2, renamed)
	one, _, err := client.SubAccountsAPI.GetSubAccountAPIKey(ctx, parent, child.ID, made.ID)
	must("read a key", err, one.Label == "portal" && one.SecretKey == nil, one)

	// with the child's own key
	childCtx := context.WithValue(context.Background(), api.ContextAccessToken, *made.SecretKey)
	domain, _, err := client.DomainsAPI.CreateDomain(childCtx, child.ID, requests.CreateDomainRequest{Domain: "mail.northwind.test"})
	must("add a domain", err, len(domain.DNSRecords) > 0 && !domain.DNSValid, domain)
	domains, _, err := client.DomainsAPI.GetDomains(childCtx, child.ID, nil, nil)
	must("list domains", err, len(domains.Data) == 1, domains)
	_, _, err = client.DomainsAPI.CheckDomainDNS(childCtx, child.ID, "mail.northwind.test")
	must("check DNS", err, true, nil)
	_, _, err = client.SubAccountsAPI.ListSubAccounts(childCtx, parent, nil)
	must("a child's key is refused on the parent's paths", nil, err != nil, err)

	// usage
	usage, _, err := client.SubAccountsAPI.GetSubAccountsUsage(ctx, parent)
	sum := usage.Parent.ReceptionCount + usage.RemovedSubAccounts.ReceptionCount
	for _, share := range usage.SubAccounts {
		sum += share.ReceptionCount
	}
	must("usage adds up", err, sum == usage.Total.ReceptionCount && len(usage.SubAccounts) == 4, usage)

	// the end
	_, _, err = client.SubAccountsAPI.DeleteSubAccountAPIKey(ctx, parent, child.ID, made.ID)
	must("delete a key", err, true, nil)
	_, _, err = client.SubAccountsAPI.DeleteSubAccount(ctx, parent, child.ID)
	must("delete", err, true, nil)
	_, answer, err = client.SubAccountsAPI.GetSubAccount(ctx, parent, child.ID)
	must("a deleted one is not found", nil, err != nil && answer != nil && answer.StatusCode == 404, answer)

	fmt.Printf("%d steps\n", steps)
}
