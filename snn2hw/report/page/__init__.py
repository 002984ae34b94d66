"""The pages for people, readable without a network, made from reports and a few templates."""
