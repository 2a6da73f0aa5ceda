# Runs once, when the volume of the database is made: the portal's role owns its own database and is no superuser. The
# superuser has no password, so it is reached inside the container alone (docker compose exec postgres psql -U postgres).
psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --username="$POSTGRES_USER" --dbname=postgres <<'SQL'
\set password `cat "$POSTGRES_PASSWORD_FILE"`
CREATE ROLE portal LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD :'password';
CREATE DATABASE portal OWNER portal;
REVOKE ALL ON DATABASE portal FROM PUBLIC;
ALTER ROLE CURRENT_USER PASSWORD NULL;
SQL
